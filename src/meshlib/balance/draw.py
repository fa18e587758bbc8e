"""
Drawing by chance: one endpoint by its weight, or a pair to compare.

A pair is always two *different* endpoints: drawn with replacement, as Envoy does, one pair in four
of two endpoints would be no choice at all.  The first is drawn by weight, its rival evenly among
the others.  Then, if i beats j with chance w(i) / (w(i) + w(j)), everybody is picked exactly in
the proportion of the weights, for any number of endpoints: the pair {i, j} comes up in proportion
to w(i) + w(j).

By weight means: first one of the different weights, in proportion to all that have it, then anybody
of these.  So what is searched is as short as there are different weights, mostly a few.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Collection, Sequence
from itertools import accumulate

from meshlib.balance.load import EndpointState, Key
from meshlib.balance.picker import keys_of, step_aside
from meshlib.balance.weights import by_weight
from meshlib.model import Endpoint
from meshlib.runtime import Rng

DRAWS = 5
"""Draws before what was tried is stepped over: Istio's host_selection_max_attempts."""


class Draw:
    """Draws indices of `states`, of which there is at least one."""

    __slots__ = ("_classes", "_cumulative", "_others", "_random", "_states", "equal", "weights")

    def __init__(self, states: Sequence[EndpointState], rng: Rng) -> None:
        self._states = states
        self._others = len(states) - 1
        self._random = rng.random
        self.weights = [state.weight for state in states]
        classes = by_weight(self.weights)
        self.equal = len(classes) == 1
        """Whether all weights are the same."""
        self._classes = [array("I", members) for members in classes.values()]
        self._cumulative = list(accumulate(w * len(members) for w, members in classes.items()))

    def one(self) -> int:
        """One by weight."""
        if self.equal:
            return int(self._random() * (self._others + 1))
        members = self._classes[bisect(self._cumulative, self._random() * self._cumulative[-1])]
        return members[int(self._random() * len(members))]

    def pair(self) -> tuple[int, int]:
        """One by weight, and another evenly among the rest; twice the same if there is no rest."""
        others = self._others
        # The same as `one` among equals, a call less.
        first = int(self._random() * (others + 1)) if self.equal else self.one()
        rival = int(self._random() * others)
        if rival >= first and others:
            rival += 1
        return first, rival

    def one_untried(self, tried: Sequence[Endpoint]) -> int:
        """One by weight that was not tried; any if all were."""
        return self._but(keys_of(tried))

    def pair_untried(self, tried: Sequence[Endpoint]) -> tuple[int, int]:
        """A pair of those not tried; twice the same if only one is left."""
        avoid = keys_of(tried)
        first = self._but(avoid)
        rival = self._but({*avoid, self._states[first].key})
        return first, first if self._states[rival].key in avoid else rival

    def _but(self, avoid: Collection[Key]) -> int:
        index = self.one()
        for _ in range(DRAWS - 1):
            if self._states[index].key not in avoid:
                return index
            index = self.one()
        return step_aside(self._states, index, avoid)
