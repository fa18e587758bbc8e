"""Room for so many who have not proven anything."""

from __future__ import annotations

import pytest

from meshlib.errors import ConfigError
from meshlib.serve.newcomers import Newcomers
from meshlib.serve.options import PeerLimits


def test_the_oldest_makes_way() -> None:
    """When the room is taken, who waits the longest is evicted, and nobody else."""
    evicted: list[str] = []
    newcomers = Newcomers(2, evicted.append)
    for name in "abc":
        newcomers.admit(name)
    assert (["a"], 2) == (evicted, len(newcomers))


def test_who_has_left_is_not_evicted() -> None:
    """A connection that has proven itself is nobody's business any more."""
    evicted: list[str] = []
    newcomers = Newcomers(2, evicted.append)
    for name in "ab":
        newcomers.admit(name)
    newcomers.leave("a")
    newcomers.leave("a")
    newcomers.admit("c")
    assert [] == evicted
    assert [True, True, False] == [newcomers.evict_one() for _ in range(3)]
    assert ["b", "c"] == evicted


@pytest.mark.parametrize(
    ("field", "value"),
    [("handshake", 0), ("head", -1.0), ("head_bytes", 10), ("newcomers", 0)],
)
def test_limits_that_make_no_sense(field, value) -> None:
    """The error names the field and the value."""
    with pytest.raises(ConfigError) as caught:
        PeerLimits(**{field: value})
    assert (field, value) == (caught.value.path, caught.value.value)
