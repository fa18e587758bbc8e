"""
Round robin: everybody in turn, heavier endpoints more often, evenly spread.

Each endpoint is due w times in a unit of time, at 1/2w, 3/2w, 5/2w, ...; who is due next is next
(earliest deadline first, as in Envoy).  Of the weights 5, 1, 1 that makes a b a a a c a, where the
naive order a a a a a b c would send a burst to `a`.

Endpoints of equal weight are due at the same times, in equal steps: they form one *ring* of n * w
turns a unit, and take those turns one after the other.  Only rings compete, so a picker is built in
one pass over the endpoints, and a pick costs a step in a heap of as many entries as there are
different weights.  Nothing is rounded: after each unit of time everybody has had exactly w turns.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace
from itertools import count
from math import ceil
from typing import Protocol

from meshlib.balance.load import EndpointState, Key
from meshlib.balance.picker import Pick, keys_of, step_aside
from meshlib.balance.slow_start import Ramp
from meshlib.balance.weights import by_weight
from meshlib.model import Attempt
from meshlib.runtime import Rng

TURNS = 4
"""Turns taken before what was tried is stepped over."""

SKIPS = 8
"""Turns after which one that is still starting is taken although its share is used up."""


class Turns(Protocol):
    """Says whose turn it is."""

    def next(self) -> int:
        """An index.  Thread-safe."""


class Evenly:
    """Everybody in turn."""

    __slots__ = ("_count", "_next")

    def __init__(self, size: int, rng: Rng) -> None:
        self._count = size
        # One call of a C function is atomic, so taking a turn needs no lock.
        self._next = count(rng.randrange(size)).__next__

    def next(self) -> int:
        """The one behind the last."""
        return self._next() % self._count


class ByDeadline:
    """Rings of equal weight, by deadline."""

    __slots__ = ("_heap", "_lock", "_members", "_rates", "_turns")

    def __init__(self, weights: Sequence[int], rng: Rng) -> None:
        rings = by_weight(weights)
        self._members = list(rings.values())
        self._rates = [weight * len(members) for weight, members in rings.items()]
        began = rng.random()
        self._turns = [max(0, ceil(began * rate - 0.5)) for rate in self._rates]
        self._heap = [(self._deadline(ring), ring) for ring in range(len(self._rates))]
        heapify(self._heap)
        self._lock = threading.Lock()

    def next(self) -> int:
        """The one that is due first, and the one before it in the list if two are."""
        with self._lock:
            ring = self._heap[0][1]
            turn = self._turns[ring]
            self._turns[ring] = turn + 1
            heapreplace(self._heap, (self._deadline(ring), ring))
        members = self._members[ring]
        return members[turn % len(members)]

    def _deadline(self, ring: int) -> float:
        """Of two integers, not summed up: equal deadlines stay equal however late it is."""
        return (2 * self._turns[ring] + 1) / self._rates[ring]


class RoundRobin:
    """Picks `states`, of which there is at least one, in weighted turns.

    The order begins at random: processes that start together must not all begin with the same
    endpoint.
    """

    __slots__ = ("_ramp", "_states", "_turn")

    def __init__(self, states: Sequence[EndpointState], rng: Rng, ramp: Ramp | None = None) -> None:
        self._states = tuple(states)
        weights = [state.weight for state in states]
        equal = min(weights) == max(weights)
        turns: Turns = Evenly(len(weights), rng) if equal else ByDeadline(weights, rng)
        self._turn = turns.next
        self._ramp = ramp

    def pick(self, attempt: Attempt) -> Pick:
        """The next in turn."""
        index = self._turn()
        if attempt.call.tried:
            index = self._untried(index, keys_of(attempt.call.tried))
        elif self._ramp is not None:
            index = self._started(self._ramp, index)
        state = self._states[index]
        return Pick(state, state.breaker.permit)

    def _untried(self, index: int, avoid: Collection[Key]) -> int:
        """`index`, or who is next in turn, or, in a long run of the same, who stands beside it."""
        for _ in range(TURNS - 1):
            if self._states[index].key not in avoid:
                return index
            index = self._turn()
        return step_aside(self._states, index, avoid)

    def _started(self, ramp: Ramp, index: int) -> int:
        for _ in range(SKIPS):
            if ramp.accepts(index):
                break
            index = self._turn()
        return index
