"""Shared rates without their store; with a real one, see tests/redis."""

from __future__ import annotations

import pytest

from meshlib.config import QuotaConfig, SharedRatesConfig
from meshlib.policy.rates import Visitor
from meshlib.policy.shared import SharedRates
from meshlib.testing.clock import FakeClock

VISITOR = Visitor("a", "frontend", "GET", "/")


@pytest.fixture
def clock():
    return FakeClock()


def shared(clock, instances=lambda: 1, **fields):
    config = SharedRatesConfig(total=QuotaConfig(limit=8, per=60), **fields)
    return SharedRates(clock, config, instances)


def test_of_those_who_come_after_a_pause_the_first_asks(clock):
    """The others do not wait for a store that is most likely still gone."""
    rates = shared(clock)
    assert rates.due()
    assert rates.failed()
    assert not rates.due()
    clock.advance(1)
    assert [True, False, False] == [rates.due() for _ in range(3)]


def test_only_the_first_failure_is_news(clock):
    """One line in the log for a store that goes, and one for its return."""
    rates = shared(clock)
    assert [True, False] == [rates.failed() for _ in range(2)]
    assert rates.down
    assert [True, False] == [rates.answered() for _ in range(2)]
    assert [True, True] == [rates.due() for _ in range(2)]


def test_the_rescue_follows_the_number_of_instances(clock):
    """Eight for one, two for each of four; what was let in counts on."""
    fleet = [4]
    rates = shared(clock, lambda: fleet[0])
    assert [True, True, False] == [rates.without_store(VISITOR) is None for _ in range(3)]
    fleet[0] = 1
    assert 6 == sum(rates.without_store(VISITOR) is None for _ in range(20))


def test_nobody_else_means_one(clock):
    """A registry that knows of no instance does not stop this one."""
    assert shared(clock, lambda: 0).without_store(VISITOR) is None
