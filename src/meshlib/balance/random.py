"""Random: chance picks, by weight.  Needs no memory, and many clients never fall into step."""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.balance.draw import Draw
from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick
from meshlib.balance.slow_start import Ramp
from meshlib.model import Attempt
from meshlib.runtime import Rng

REDRAWS = 8
"""Draws after which one that is still starting is taken although its turn has not come."""


class Random:
    """Picks by weight alone among `states`, of which there is at least one."""

    __slots__ = ("_draw", "_ramp", "_states")

    def __init__(self, states: Sequence[EndpointState], rng: Rng, ramp: Ramp | None = None) -> None:
        self._states = tuple(states)
        self._draw = Draw(self._states, rng)
        self._ramp = ramp

    def pick(self, attempt: Attempt) -> Pick:
        """Anybody, by weight."""
        tried, draw = attempt.call.tried, self._draw
        index = draw.one_untried(tried) if tried else draw.one()
        if self._ramp is not None and not tried:
            index = self._started(self._ramp, index)
        state = self._states[index]
        return Pick(state, state.breaker.permit)

    def _started(self, ramp: Ramp, index: int) -> int:
        for _ in range(REDRAWS):
            if ramp.accepts(index):
                break
            index = self._draw.one()
        return index
