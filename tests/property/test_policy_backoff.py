from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import BackoffConfig
from meshlib.policy.backoff import Backoff

SECONDS = st.floats(0, 1e6)


@given(SECONDS, SECONDS, st.integers(1, 10_000), st.integers())
def test_within_the_bounds(base, more, retry, seed):
    """A delay is never negative, and never more than the cap or the grown base."""
    config = BackoffConfig(base=base, cap=base + more)
    delay = Backoff(config).delay(retry, Random(seed))
    assert 0 <= delay <= config.cap
    assert retry > 60 or delay <= base * 2 ** (retry - 1)
