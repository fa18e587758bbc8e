"""Which versions lie in which ranges."""

from __future__ import annotations

import pytest

from meshlib.auto.versions import within


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.32.1", ">=2.30,<3", True),
        ("2.30", ">=2.30,<3", True),
        ("2.9.9", ">=2.30,<3", False),
        ("3.0.0", ">=2.30,<3", False),
        ("3", "<3.0", False),
        ("1.0", "==1.0.0", True),
        ("1.0.1", ">1, <=1.0.1", True),
        ("3.0rc1", "<3", False),
        ("2.31.0+local", ">=2.31", True),
        ("unknown", ">=0", False),
    ],
)
def test_a_version_is_within(version, bounds, expected):
    """Releases are compared number by number, and a missing number is zero."""
    assert expected is within(version, bounds)


def test_bounds_that_are_none_are_a_mistake():
    """A range is written by us, and a wrong one is a bug."""
    with pytest.raises(ValueError, match="'~=2'"):
        within("2.0", "~=2")
