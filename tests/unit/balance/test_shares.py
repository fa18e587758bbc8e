"""Groups with shares of the traffic."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshlib.balance.round_robin import RoundRobin
from meshlib.balance.shares import Group, scattered, share_out, with_biased


@pytest.fixture
def picker():
    """Make the picker over these groups."""

    def make(groups):
        rng = Random(5)
        return share_out(groups, lambda states: RoundRobin(states, rng), lambda _: rng.random())

    return make


def picked(picker, attempt, times=2000):
    """Count who is picked."""
    return Counter(picker.pick(attempt).endpoint.id for _ in range(times))


def test_shares_are_kept(picker, states, attempt):
    """Each group gets its share, whatever its size."""
    made = states(*[1] * 5)
    counts = picked(picker([Group(0.75, made[:1]), Group(0.25, made[1:])]), attempt())
    assert pytest.approx(1500, abs=80) == counts["a"]


def test_one_group_costs_nothing(picker, states):
    """It is its picker."""
    assert isinstance(picker([Group(1.0, states(1, 1))]), RoundRobin)


def test_biased_ones_get_a_tenth_of_their_weight(picker, states, attempt):
    """Of two equal endpoints one that fails gets 1 of 11 requests."""
    first, second = states(1, 1)
    groups = with_biased([Group(1.0, [first])], [second], 0.1)
    counts = picked(picker(groups), attempt())
    assert pytest.approx(2000 / 11, abs=40) == counts["b"]


def test_nobody_biased_adds_no_group(states):
    """Nor does a bias of nothing."""
    first, second = states(1, 1)
    groups = [Group(1.0, [first])]
    assert groups == with_biased(groups, [], 0.1) == with_biased(groups, [second], 0.0)


def test_retries_go_where_somebody_is_untried(picker, states, attempt):
    """To the next group, and around; if all were tried, to whoever is drawn."""
    made = states(1, 1, 1)
    all_three = picker([Group(1.0, made[:1]), Group(0.0, made[1:2]), Group(0.0, made[2:])])
    assert {"a": 20} == picked(all_three, attempt(), 20)
    assert {"b": 20} == picked(all_three, attempt(made[0]), 20)
    assert {"c": 20} == picked(all_three, attempt(*made[:2]), 20)
    assert {"a": 20} == picked(all_three, attempt(*made), 20)


def test_scattered_is_even():
    """Hashes that lie next to each other end up all over [0, 1), and never at 1."""
    numbers = [scattered(hashed) for hashed in range(1000)]
    assert 0 <= min(numbers) < 0.01
    assert 0.99 < max(numbers) < 1
    assert pytest.approx(500, abs=5) == sum(number < 0.5 for number in numbers)
    assert scattered(2**64 - 1) < 1
