from __future__ import annotations

import pytest

from meshlib.demo import backend
from meshlib.demo.faults import FAULTY, NO_FAULTS, Faults
from meshlib.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"), [("fail_rate", 1.5), ("stall_rate", -0.1), ("stall_seconds", -1.0)]
)
def test_rates_are_checked(field, value):
    """A rate outside 0..1 and a negative time name the field and the value."""
    with pytest.raises(ConfigError, match=f"{field}: {value}"):
        Faults(**{field: value})


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ([], NO_FAULTS),
        (["--faulty"], FAULTY),
        (["--fail-rate", "1"], Faults(fail_rate=1.0)),
        (["--faulty", "--stall-rate", "0"], Faults(FAULTY.fail_rate, 0.0)),
    ],
)
def test_options_make_faults(arguments, faults):
    """A rate that is given beats what --faulty means."""
    assert faults == backend.faults_given(backend.parser().parse_args(arguments))
