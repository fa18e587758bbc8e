from __future__ import annotations

from random import Random

import pytest

from meshlib.config import BackoffConfig
from meshlib.policy.backoff import Backoff


class Always:
    """Chance that always comes out the same."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.mark.parametrize(("retry", "most"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5000, 5.0)])
def test_grows_to_the_cap(retry, most):
    """The bound doubles with each retry from the base on, and stays at the cap."""
    backoff = Backoff(BackoffConfig(base=1.0, cap=5.0))
    assert most / 2 == backoff.delay(retry, Always(0.5))


def test_jitter_is_full():
    """Delays spread evenly over all of the time from nothing to the bound."""
    backoff, rng = Backoff(BackoffConfig(base=1.0, cap=4.0)), Random(1)
    delays = sorted(backoff.delay(3, rng) for _ in range(4000))
    for quarter in range(4):
        within = sum(quarter <= delay < quarter + 1 for delay in delays)
        assert 900 < within < 1100


def test_no_base_no_wait():
    """A base of zero means to try again at once, however often."""
    assert Backoff(BackoffConfig(base=0.0)).delay(9, Random(1)) == 0.0
