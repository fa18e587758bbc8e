from __future__ import annotations

import pytest

from meshlib.config import BudgetConfig
from meshlib.policy.budget import RetryBudget
from meshlib.testing.clock import FakeClock


@pytest.fixture
def clock():
    """Time that stands still."""
    return FakeClock()


def drained(budget):
    """Withdrawals until there is nothing left."""
    taken = 0
    while budget.try_withdraw():
        taken += 1
    return taken


def test_floor_lets_a_quiet_service_retry(clock):
    """Without a call, the floor of the whole window can be spent once."""
    budget = RetryBudget(clock, BudgetConfig(share=0.2, floor=3.0, window=10.0))
    assert 30 == drained(budget)
    clock.advance(0.9)
    assert 0 == drained(budget)


def test_share_of_calls(clock):
    """Fifty calls at 20 % pay for ten retries, to the last one."""
    budget = RetryBudget(clock, BudgetConfig(share=0.2, floor=0.0))
    for _ in range(50):
        budget.deposit()
    assert 10.0 == budget.balance
    assert 10 == drained(budget)
    assert 0.0 == budget.balance


def test_a_part_of_a_retry_is_none(clock):
    """Four calls at 20 % do not pay for a retry; the fifth does."""
    budget = RetryBudget(clock, BudgetConfig(share=0.2, floor=0.0))
    for _ in range(4):
        budget.deposit()
    assert not budget.try_withdraw()
    budget.deposit()
    assert budget.try_withdraw()


def test_deposits_expire(clock):
    """A call still counts within 9/10 of the window, and not after the whole."""
    budget = RetryBudget(clock, BudgetConfig(share=1.0, floor=0.0, window=10.0))
    budget.deposit()
    clock.advance(8.9)
    assert 1.0 == budget.balance
    clock.advance(1.1)
    assert 0.0 == budget.balance


def test_withdrawals_expire_too(clock):
    """What was spent comes back when the window has passed it, and no sooner."""
    budget = RetryBudget(clock, BudgetConfig(share=0.0, floor=1.0, window=10.0))
    assert 10 == drained(budget)
    clock.advance(8.9)
    assert 0 == drained(budget)
    clock.advance(1.1)
    assert 10 == drained(budget)


def test_slots_leave_one_by_one(clock):
    """Calls of different seconds are forgotten one second after the other."""
    budget = RetryBudget(clock, BudgetConfig(share=1.0, floor=0.0, window=10.0))
    for _ in range(10):
        budget.deposit()
        clock.advance(1.0)
    seen = []
    for _ in range(10):
        seen.append(budget.balance)
        clock.advance(1.0)
    assert [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0] == seen


def test_long_silence(clock):
    """After an hour of silence nothing old is left."""
    budget = RetryBudget(clock, BudgetConfig(share=1.0, floor=0.0, window=10.0))
    for _ in range(100):
        budget.deposit()
    clock.advance(3600.0)
    assert 0.0 == budget.balance
    assert "<RetryBudget 0 left>" == repr(budget)
