"""
Least request: two endpoints are drawn, the less busy one is picked.

Drawing two and comparing is nearly as good as looking at all and does not send everybody to the
same idle endpoint at once (Mitzenmacher, "The Power of Two Choices", 2001).

Weights.  The first is drawn by weight; a rival takes its place only if, *with* this request, the
rival would be no busier for its weight than the first is without it:

    (rival.pending + 1) / rival.weight <= first.pending / first.weight

Among equal weights this says "strictly fewer pending".  Among others an idle service is used
exactly in the proportion of the weights, and nobody starves: an idle endpoint that is drawn first
is picked.  (Envoy's w / (active + 1) ** bias looks at one endpoint at a time, for a schedule that
walks over all of them; it would count the weight twice here.)
"""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.balance.draw import Draw
from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick
from meshlib.balance.slow_start import Ramp
from meshlib.model import Attempt
from meshlib.runtime import Rng


class LeastRequest:
    """Picks by pending requests among `states`, of which there is at least one."""

    __slots__ = ("_draw", "_picks", "_ramp", "_states", "_weights")

    def __init__(self, states: Sequence[EndpointState], rng: Rng, ramp: Ramp | None = None) -> None:
        self._states = tuple(states)
        self._draw = Draw(self._states, rng)
        self._weights = self._draw.weights
        self._picks = [state.picks for state in states]
        self._ramp = ramp

    def pick(self, attempt: Attempt) -> Pick:
        """The less busy of two."""
        tried, draw = attempt.call.tried, self._draw
        first, rival = draw.pair_untried(tried) if tried else draw.pair()
        if self._wins(rival, first):
            first, rival = rival, first
        if self._ramp is not None and not self._ramp.accepts(first):
            first = rival
        state = self._states[first]
        return Pick(state, state.breaker.permit)

    def _wins(self, rival: int, first: int) -> bool:
        picks, weights = self._picks, self._weights
        return (len(picks[rival]) + 1) * weights[first] <= len(picks[first]) * weights[rival]
