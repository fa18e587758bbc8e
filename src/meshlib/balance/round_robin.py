"""
Smooth weighted round robin: everybody in turn, heavier endpoints more often, evenly spread.

The order is nginx's (`ngx_http_upstream_get_round_robin_peer`): of the weights 5, 1, 1 it makes
a a b a c a a, where the naive order a a a a a b c would send a burst to `a`.  nginx looks at all
peers for every request; here the order is laid out once, when the picker is built, and a pick is
one step along it.

Its length is the sum of the weights, divided by their greatest common divisor.  Weights that
would need more than `longest` slots are scaled down to fit: an endpoint's share is then off by at
most half a slot, but nobody gets less than one slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from math import gcd
from operator import add

from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick, indices_of, step_aside
from meshlib.model import Attempt
from meshlib.runtime import Rng

SLOTS = 2048
"""Slots the order of a small set may have: weights in steps of 0.05 % are exact ..."""

SLOTS_EACH = 8
"""... and of a large set, for each endpoint: the rounding stays below 1/16 of a mean weight."""

TURNS = 4
"""Turns taken before what was tried is stepped over."""


def longest(endpoints: int) -> int:
    """The most slots that the order of so many endpoints is scaled to.

    Rounding everybody up to at least one slot may add up to one for each endpoint.
    """
    return max(SLOTS, SLOTS_EACH * endpoints)


def in_proportion(weights: Sequence[int]) -> list[int]:
    """Slots for each weight: exact and as few as can be, or rounded to fit."""
    divisor = gcd(*weights)
    slots = [weight // divisor for weight in weights]
    total, most = sum(slots), longest(len(slots))
    if total <= most:
        return slots
    return [max(1, round(weight * most / total)) for weight in slots]


def smooth_order(slots: Sequence[int]) -> list[int]:
    """The indices of `slots`, each as often as it has slots, in nginx's order.

    Each step adds everybody's slots to their credit, serves the greatest credit (of equal ones
    the first in the list) and takes the total off it.  Indices with as many slots as each other
    are served in turn, so only the first of each queue has to compete: a step costs one look at
    each *different* number of slots, not at each index.
    """
    queues: dict[int, deque[int]] = {}
    for index, own in enumerate(slots):
        queues.setdefault(own, deque()).append(index)
    if len(queues) == 1:
        return list(range(len(slots))) * slots[0]
    return list(_served(list(queues.values()), list(queues), sum(slots)))


def _served(queues: list[deque[int]], slots: list[int], total: int) -> Iterator[int]:
    credit = [0] * len(slots)
    turns = [0] * len(slots)
    for _ in range(total):
        credit = list(map(add, credit, slots))
        best = _first_of_greatest(credit, queues)
        queue = queues[best]
        yield queue[0]
        queue.rotate(-1)
        turns[best] += 1
        if turns[best] % len(queue) == 0:  # all of them are served: the next has paid as well
            credit[best] -= total


def _first_of_greatest(credit: list[int], queues: list[deque[int]]) -> int:
    greatest = max(credit)
    if credit.count(greatest) == 1:
        return credit.index(greatest)
    tied = (i for i, own in enumerate(credit) if own == greatest)
    return min(tied, key=lambda i: queues[i][0])


class RoundRobin:
    """Picks `states`, of which there is at least one, in smooth weighted order.

    The order begins at random: processes that start together must not all begin with the same
    endpoint.
    """

    __slots__ = ("_index", "_next", "_order", "_states")

    def __init__(self, states: Sequence[EndpointState], rng: Rng) -> None:
        self._states = tuple(states)
        self._index = {state.key: index for index, state in enumerate(states)}
        self._order = smooth_order(in_proportion([state.weight for state in states]))
        # One call of a C function is atomic, so taking a turn needs no lock.
        self._next = count(rng.randrange(len(self._order))).__next__

    def pick(self, attempt: Attempt) -> Pick:
        """The next in turn."""
        index = self._turn()
        if attempt.call.tried:
            index = self._untried(index, indices_of(attempt.call.tried, self._index))
        state = self._states[index]
        return Pick(state, state.breaker.permit)

    def _turn(self) -> int:
        return self._order[self._next() % len(self._order)]

    def _untried(self, index: int, avoid: Collection[int]) -> int:
        """`index`, or who is next in turn, or, in a long run of the same, who stands beside it."""
        for _ in range(TURNS - 1):
            if index not in avoid:
                return index
            index = self._turn()
        return step_aside(index, avoid, len(self._states))
