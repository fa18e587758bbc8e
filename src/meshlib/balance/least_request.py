"""
Least request: two endpoints are drawn, the less busy one is picked.

Drawing two and comparing is nearly as good as looking at all and does not send everybody to the
same idle endpoint at once (Mitzenmacher, "The Power of Two Choices", 2001).  The two are distinct:
drawn with replacement, as Envoy does, one pick in four at N = 2 would not compare at all.

Weights.  The first is drawn by weight; a rival takes its place only if, *with* this request, the
rival would be no busier for its weight than the first is without it:

    (rival.pending + 1) / rival.weight <= first.pending / first.weight

Among equal weights this says "strictly fewer pending".  Among others an idle service is used
exactly in the proportion of the weights, and nobody starves: an idle endpoint that is drawn first
is picked.  (Comparing (pending + 1) / weight on both sides would count the weight twice.)
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Sequence
from itertools import accumulate

from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick, indices_of, step_aside
from meshlib.model import Attempt
from meshlib.runtime import Rng

FULL_LOOK = 4
"""Among so few, looking at all costs no more than drawing."""

DRAWS = 5
"""Draws by weight before what was tried is stepped over: Istio's host_selection_max_attempts."""


class LeastRequest:
    """Picks by pending requests among `states`, of which there is at least one."""

    __slots__ = ("_cumulative", "_index", "_rng", "_states", "_weights")

    def __init__(self, states: Sequence[EndpointState], rng: Rng) -> None:
        self._states = tuple(states)
        self._weights = [state.weight for state in states]
        self._index = {state.key: index for index, state in enumerate(states)}
        self._rng = rng
        equal = len(set(self._weights)) == 1
        self._cumulative = None if equal else list(accumulate(self._weights))

    def pick(self, attempt: Attempt) -> Pick:
        """The less busy of two, or of all if they are few."""
        tried = attempt.call.tried
        avoid = indices_of(tried, self._index) if tried else ()
        first = self._draw(avoid)
        state = self._less_busy(first, self._rival(first, avoid))
        return Pick(state, state.breaker.permit)

    def _draw(self, avoid: Collection[int]) -> int:
        """One that is not to be avoided, by weight; any, if all are to be."""
        index = self._at(self._rng.random())
        for _ in range(DRAWS - 1):
            if index not in avoid:
                return index
            index = self._at(self._rng.random())
        return step_aside(index, avoid, len(self._states))

    def _at(self, chance: float) -> int:
        if self._cumulative is None:
            return int(chance * len(self._states))
        return bisect(self._cumulative, chance * self._cumulative[-1])

    def _rival(self, first: int, avoid: Collection[int]) -> int:
        """Another one that is not to be avoided, or `first` if there is none."""
        if len(self._states) <= FULL_LOOK:
            return self._best_but(first, avoid)
        rival = self._draw((*avoid, first))
        return first if rival in avoid else rival

    def _best_but(self, first: int, avoid: Collection[int]) -> int:
        """The rival that would be least busy, by chance if there are several; or `first`."""
        rivals = [i for i in range(len(self._states)) if i != first and i not in avoid]
        chance = self._rng.random
        return min(rivals, key=lambda i: (self._load_with_one_more(i), chance()), default=first)

    def _load_with_one_more(self, index: int) -> float:
        return (self._states[index].pending + 1) / self._weights[index]

    def _less_busy(self, first: int, rival: int) -> EndpointState:
        load = self._states[first].pending / self._weights[first]
        return self._states[rival if self._load_with_one_more(rival) <= load else first]
