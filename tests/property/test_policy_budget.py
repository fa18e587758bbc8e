from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import BudgetConfig
from meshlib.policy.budget import SLOTS, RetryBudget
from meshlib.testing.clock import FakeClock

CONFIGS = st.builds(
    BudgetConfig,
    share=st.sampled_from([0.0, 0.1, 0.2, 0.29, 0.5, 1.0]),
    floor=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    window=st.sampled_from([1.0, 10.0]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 30)),
        st.tuples(st.just("retry"), st.integers(1, 30)),
        st.tuples(st.just("wait"), st.floats(0, 1.5)),
    ),
    max_size=60,
)


@given(CONFIGS, STEPS, st.floats(0, 1e6))
def test_never_more_than_share_or_floor(config, steps, start):
    """In the window that ends with any retry, retries are at most the share of calls or floor."""
    clock, width = FakeClock(start), config.window / SLOTS
    budget = RetryBudget(clock, config)
    calls, retries = [], []
    for what, amount in steps:
        slot = clock.now // width
        if what == "wait":
            clock.advance(amount * config.window)
        elif what == "call":
            calls += [slot] * amount
            for _ in range(amount):
                budget.deposit()
        else:
            taken = sum(budget.try_withdraw() for _ in range(amount))
            retries += [slot] * taken
            spent = sum(one > slot - SLOTS for one in retries)
            paid = config.share * sum(one > slot - SLOTS for one in calls)
            allowed = max(paid, config.floor * config.window)
            assert taken == 0 or spent <= allowed + 1e-9
            refused = taken < amount
            assert not refused or spent + 1 > allowed - 1e-9


@given(CONFIGS, STEPS)
def test_balance_says_what_can_be_withdrawn(config, steps):
    """As many retries as the balance says, rounded down, are granted: no more, no fewer."""
    clock = FakeClock()
    budget = RetryBudget(clock, config)
    for what, amount in steps:
        if what == "wait":
            clock.advance(amount * config.window)
        elif what == "call":
            for _ in range(amount):
                budget.deposit()
        else:
            able = min(amount, max(0, int(budget.balance)))
            assert able == sum(budget.try_withdraw() for _ in range(amount))
