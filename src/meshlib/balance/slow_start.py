"""
Slow start: an endpoint that has just arrived gets its share of the traffic little by little.

Its caches are cold, its code is not compiled, its pools are empty.  As in Envoy its weight counts
for `max(min_share, (age / window) ** (1 / aggression))`.  Pickers do not change, so the share is
a chance: a picked endpoint is accepted with it, else the picker goes on to the next.

Those of the first snapshot are not new, it is this process that is: they have their whole weight.
While nobody is starting there is no `Ramp`, and nobody pays for one.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.balance.load import EndpointState
from meshlib.config import SlowStartConfig
from meshlib.runtime import Clock, Rng

INSTANT = 0.001
"""Seconds of age nobody is below: Envoy's least."""


class Ramp:
    """Whether a picked endpoint has come far enough for this request."""

    __slots__ = ("_clock", "_config", "_random", "_since", "_until")

    def __init__(
        self, since: dict[int, float], clock: Clock, rng: Rng, config: SlowStartConfig
    ) -> None:
        self._since, self._clock, self._random, self._config = since, clock, rng.random, config
        self._until = max(since.values()) + config.window

    def accepts(self, index: int) -> bool:
        """Draw once whether the endpoint at `index` may have this request."""
        since = self._since.get(index)
        if since is None:
            return True
        now = self._clock()
        return now >= self._until or self._random() < self.share(now - since)

    def share(self, age: float) -> float:
        """The share of its weight that an endpoint has at `age` seconds."""
        grown = max(age, INSTANT) / self._config.window
        if grown >= 1:
            return 1.0
        share: float = grown ** (1 / self._config.aggression)
        return max(self._config.min_share, share)


def ramp_of(
    states: Sequence[EndpointState], clock: Clock, rng: Rng, config: SlowStartConfig
) -> Ramp | None:
    """The ramp of those that are starting now; None if nobody is."""
    young = clock() - config.window
    since = {i: state.since for i, state in enumerate(states) if state.since > young}
    return Ramp(since, clock, rng, config) if 0 < len(since) < len(states) else None
