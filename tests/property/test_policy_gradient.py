"""The adaptive limit finds what a server can do, and stays there."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.config import ConcurrencyConfig
from meshlib.policy.gradient import Gradient

CONFIG = ConcurrencyConfig()


def simulate(gradient, workers, demand, *, seconds, rng, service=0.01, start=0.0):
    """A server with so many workers; each request takes `service`, plus its time in the queue.

    Returns the limits over time.
    """
    now, limits = start, []
    while now < start + seconds:
        in_flight = min(demand, gradient.limit)
        latency = service * max(1.0, in_flight / workers) * (0.95 + 0.1 * rng.random())
        for _ in range(in_flight):
            gradient.observe(latency, in_flight, now)
        now += latency
        limits.append(gradient.limit)
    return limits


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(0, 1000))
def test_it_converges(workers, seed):
    """Under endless demand the limit is that of the workers, with a queue and no more."""
    gradient = Gradient(CONFIG, 0.0)
    limits = simulate(gradient, workers, 10_000, seconds=20, rng=random.Random(seed))
    settled = limits[len(limits) // 2 :]
    assert workers <= min(settled)
    assert max(settled) <= 2.2 * workers + 6


@settings(max_examples=10)  # each of them is five minutes of a server's life
@given(st.integers(4, 40), st.integers(0, 100))
def test_a_baseline_does_not_creep_up(workers, seed):
    """Five minutes of overload, with five renewals, leave the limit where it was.

    Hand mutation: take `latency` as the fresh baseline without halving the limit, and it creeps.
    """
    gradient, rng = Gradient(CONFIG, 0.0), random.Random(seed)
    simulate(gradient, workers, 10_000, seconds=300, rng=rng)
    late = simulate(gradient, workers, 10_000, seconds=20, rng=rng, start=300.0)
    assert sorted(late)[len(late) // 2] <= 2.2 * workers + 6


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 300)), max_size=500))
def test_it_stays_within_its_bounds(samples):
    """Whatever is observed: least..most."""
    config = ConcurrencyConfig(least=2, most=50, initial=10, samples=3, window=0.001)
    gradient = Gradient(config, 0.0)
    for number, (seconds, in_flight) in enumerate(samples):
        gradient.observe(seconds, in_flight, number * 0.01)
        assert 2 <= gradient.limit <= 50


def test_it_follows_a_server_that_grows_slow():
    """A dependency that takes ten times as long lowers the limit at once, not after a minute."""
    gradient, rng = Gradient(CONFIG, 0.0), random.Random(1)
    simulate(gradient, 20, 10_000, seconds=10, rng=rng)
    before = gradient.limit
    simulate(gradient, 20, 10_000, seconds=5, rng=rng, service=0.1, start=10.0)
    assert gradient.limit < before / 2


def test_it_does_not_grow_while_it_is_not_used():
    """One request at a time says nothing about a hundred."""
    gradient = Gradient(CONFIG, 0.0)
    for number in range(1000):
        gradient.observe(0.01, 1, number * 0.01)
    assert CONFIG.initial == gradient.limit


@pytest.mark.parametrize("demand", [1, 5])
def test_a_quiet_server_is_measured_without_being_throttled(demand):
    """Where half of the limit is free, the baseline is renewed without a refusal."""
    gradient, rng = Gradient(CONFIG, 0.0), random.Random(1)
    limits = simulate(gradient, 50, demand, seconds=200, rng=rng)
    assert min(limits) >= demand
    slow = simulate(gradient, 50, demand, seconds=200, rng=rng, service=0.02, start=200.0)
    assert 0.018 < gradient.baseline < 0.022
    assert min(slow) >= demand
    assert CONFIG.initial == limits[-1] == slow[-1]
