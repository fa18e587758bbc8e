from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshlib.balance.round_robin import RoundRobin, in_proportion, longest, smooth_order
from meshlib.model import Verdict


class First:
    """Chance that always begins at the beginning."""

    def random(self):
        return 0.0

    def randrange(self, stop):
        return 0


def names(picker, attempt, times):
    """Who is picked, in order."""
    return "".join(picker.pick(attempt).endpoint.id for _ in range(times))


def test_nginx_order(states, attempt):
    """Weights 5, 1, 1 make the order that nginx is known for, again and again."""
    picker = RoundRobin(states(5, 1, 1), First())
    assert "aabacaa" * 3 == names(picker, attempt(), 21)


def test_equal_weights_take_turns(states, attempt):
    """Equal weights, whatever they are, make plain round robin."""
    assert "abcabc" == names(RoundRobin(states(1, 1, 1), First()), attempt(), 6)
    assert "abcabc" == names(RoundRobin(states(70, 70, 70), First()), attempt(), 6)
    assert "aaa" == names(RoundRobin(states(9), First()), attempt(), 3)


def test_common_factors_do_not_lengthen_the_order():
    """Weights are divided by what they have in common."""
    assert [5, 1, 1] == in_proportion([500, 100, 100])
    assert [2, 3] == in_proportion([20, 30])


def test_starts_at_random(states, attempt):
    """Processes that start together begin with different endpoints."""
    first = {names(RoundRobin(states(1, 1, 1), Random(seed)), attempt(), 1) for seed in range(30)}
    assert {"a", "b", "c"} == first


def test_load_does_not_matter(states, attempt):
    """Turns are taken however busy an endpoint is."""
    members = states(1, 1)
    members[0].pending = 99
    assert "abab" == names(RoundRobin(members, First()), attempt(), 4)


def test_long_orders_are_scaled():
    """Weights too fine for the order are rounded to it, and nobody gets nothing."""
    slots = in_proportion([65535, 65534, 1])
    assert [longest(3) // 2, longest(3) // 2, 1] == slots
    many = in_proportion([1 + 7 * n for n in range(3000)])
    assert sum(many) <= longest(3000) + 3000
    assert 1 == min(many)


def test_a_weight_step_of_a_thousandth_is_exact():
    """999 to 1 fits the order of a small set exactly."""
    assert [999, 1] == in_proportion([999, 1])


@pytest.mark.parametrize("weights", [(1, 1), (1, 99), (1, 1, 1, 1, 1), (1, 1, 2000)])
def test_tried_endpoints_are_avoided(states, attempt, weights):
    """As long as one is left that was not tried, it is picked."""
    members = states(*weights)
    picker, rng = RoundRobin(members, Random(1)), Random(2)
    for size in range(1, len(members)):
        for _ in range(50):
            tried = rng.sample(members, size)
            assert picker.pick(attempt(*tried)).endpoint not in {s.endpoint for s in tried}


def test_all_tried(states, attempt):
    """When all were tried, one of them is picked again."""
    members = states(1, 1)
    assert RoundRobin(members, Random(1)).pick(attempt(*members)).endpoint.id in {"a", "b"}


def test_picks_count_as_pending(states, attempt):
    """A picked endpoint has a request pending until it is done."""
    [state] = states(1)
    pick = RoundRobin([state], First()).pick(attempt())
    assert 1 == state.pending
    pick.done(Verdict.SUCCESS)
    assert 0 == state.pending


def test_heavy_ones_are_spread():
    """Nobody with half of the weight is served three times in a row."""
    order = smooth_order([10, 5, 3, 2])
    doubled = order + order
    assert not any(doubled[i : i + 3] == [0, 0, 0] for i in range(len(order)))
    assert Counter({0: 10, 1: 5, 2: 3, 3: 2}) == Counter(order)
