"""No stream of requests gets more through than its quota says."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import QuotaConfig
from meshlib.policy.limiter import Meter, RateLimiter
from meshlib.testing.clock import FakeClock

QUOTAS = st.builds(
    QuotaConfig,
    limit=st.floats(0.1, 1000),
    per=st.floats(0.01, 100),
    burst=st.integers(0, 20),
)
PAUSES = st.lists(st.floats(0, 3), min_size=1, max_size=120)


class FixedWindow:
    """The naive twin: counts anew in every window, and lets two bursts through at a border."""

    def __init__(self, clock, quota):
        self.clock, self.quota, self.window, self.count = clock, quota, -1, 0

    def take(self):
        window = self.clock() // self.quota.per
        if window != self.window:
            self.window, self.count = window, 0
        self.count += 1
        return self.count <= self.quota.limit


def let_through(take, clock, pauses):
    """The moments at which a request was let through."""
    moments = []
    for pause in pauses:
        clock.advance(pause)
        if take():
            moments.append(clock.now)
    return moments


def worst_excess(moments, quota):
    """By how many requests the worst of all windows exceeds burst + rate * t."""
    return max(
        (
            last - first + 1 - quota.depth - quota.rate * (moments[last] - moments[first])
            for first in range(len(moments))
            for last in range(first, len(moments))
        ),
        default=0.0,
    )


@given(QUOTAS, PAUSES)
def test_no_window_of_any_length_lets_more_through_than_burst_and_rate(quota, pauses):
    """At most burst + rate * t, wherever the window begins; rounding aside."""
    clock = FakeClock()
    limiter, meter = RateLimiter(clock), Meter("m", quota)
    unit = 1 / quota.rate
    moments = let_through(
        lambda: limiter.take([(meter, "")]) is None, clock, [pause * unit for pause in pauses]
    )
    assert worst_excess(moments, quota) <= 1e-3


def test_the_naive_twin_is_caught():
    """A fixed window lets twice its limit through around a border."""
    quota = QuotaConfig(limit=5)
    clock = FakeClock(1000.9)
    window = FixedWindow(clock, quota)
    moments = let_through(window.take, clock, [0.0] * 5 + [0.2] + [0.0] * 4)
    assert worst_excess(moments, quota) > 3


@given(QUOTAS, PAUSES)
def test_a_refused_caller_may_come_when_it_was_told(quota, pauses):
    """Not earlier, and not later than `wait` says."""
    clock = FakeClock()
    limiter, meter = RateLimiter(clock), Meter("m", quota)
    for pause in pauses:
        clock.advance(pause / quota.rate)
        over = limiter.take([(meter, "")])
        if over is None:
            continue
        clock.advance(over.wait * 0.99)
        assert limiter.take([(meter, "")]) is not None
        clock.advance(over.wait * 0.01 + 1e-6)
        assert limiter.take([(meter, "")]) is None


@given(QUOTAS, QUOTAS, PAUSES, st.integers(1, 100))
def test_another_quota_forgives_nothing(before, after, pauses, switch):
    """From the switch on no more than the new burst and rate allow.

    Hand mutation: make `Meter.configure` forget its buckets.
    """
    clock = FakeClock()
    limiter, meter = RateLimiter(clock), Meter("m", before)
    moments = []
    for number, pause in enumerate(pauses):
        clock.advance(pause / after.rate)
        if number == switch:
            meter.configure(after, clock.now)
        if limiter.take([(meter, "")]) is None and number >= switch:
            moments.append(clock.now)
    assert worst_excess(moments, after) <= 1e-3


@given(st.integers(0, 1000), st.integers(1, 50))
def test_a_flood_of_keys_takes_no_more_memory_and_frees_nobody(seed, most):
    """At most `max_keys` buckets, and a key that has one is held to it throughout the flood."""
    rng, clock = random.Random(seed), FakeClock()
    quota = QuotaConfig(limit=1, per=10, burst=3)
    limiter, meter = RateLimiter(clock), Meter("m", quota, max_keys=most)
    moments = []
    for _ in range(300):
        clock.advance(rng.random() * 0.2)
        limiter.take([(meter, f"stranger-{rng.randrange(10_000)}")])
        if limiter.take([(meter, "greedy")]) is None:
            moments.append(clock.now)
        assert len(meter) <= most
    assert worst_excess(moments, quota) <= 1e-3 + _shared_with_strangers(meter)


def _shared_with_strangers(meter):
    """A newcomer that shared the overflow may have had that, and then a bucket of its own."""
    return meter.quota.depth


@given(st.lists(st.integers(0, 3), min_size=200, max_size=400))
def test_fairness(order):
    """However unevenly callers come, each gets its quota: the greedy do not starve the others."""
    clock = FakeClock()
    limiter = RateLimiter(clock)
    each = Meter("caller", QuotaConfig(limit=10, burst=2), max_keys=100)
    total = Meter("total", QuotaConfig(limit=50, burst=10))
    for caller in order:
        clock.advance(0.001)
        limiter.take([(each, "greedy"), (total, "")])
        limiter.take([(each, f"caller-{caller}"), (total, "")])
    clock.advance(0.2)
    assert limiter.take([(each, "modest"), (total, "")]) is None


def test_unfairness_of_charging_one_by_one_would_be_seen():
    """Naive twin: charging the total before the caller's own quota refuses it starves the rest."""
    clock = FakeClock()
    limiter = RateLimiter(clock)
    each = Meter("caller", QuotaConfig(limit=1, burst=1), max_keys=9)
    total = Meter("total", QuotaConfig(limit=5, burst=5))

    def naive(caller):
        with limiter.lock:
            if total.wait("", clock.now) > 0:
                return False
            total.take("", clock.now)
            if each.wait(caller, clock.now) > 0:
                return False
            each.take(caller, clock.now)
            return True

    for _ in range(100):
        naive("greedy")
    assert not naive("modest")
