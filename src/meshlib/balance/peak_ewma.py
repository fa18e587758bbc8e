"""
Peak EWMA: of two endpoints the one that promises the answer sooner.

    cost = latency * (pending + 1)

where latency is a moving average that jumps to peaks and decays on read (`latency.py`).  An
endpoint that becomes slow, or fails, loses its traffic with the first answer that says so, not
when a queue has built up.  Finagle's `P2CPeakEwma` and Linkerd's balancer are the precedents.

Weights.  They are capacities: pending requests count by weight, `pending / weight * mean + 1`.
The cheaper of two does not simply win, as the heavier of two idle endpoints would then get
everything.  The odds are weight / cost**4: at equal cost the shares are exactly those of the
weights (`draw.py` says why), and who is twice as expensive for its weight loses sixteen to one.

Starvation.  A slow endpoint is not asked, so nobody would learn that it has recovered until its
estimate has decayed.  As in go-zero, the loser of a pair that was not picked for a second is picked
after all; but only if that is SILENCE times as long as the winner was not: where there are many
endpoints or few requests everybody waits for seconds, and go-zero's rule alone would pick the worse
of every pair.  Who asked to be left alone (Retry-After) is not forced before that time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from meshlib.balance.draw import Draw
from meshlib.balance.latency import Latency
from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick
from meshlib.balance.slow_start import Ramp
from meshlib.config import PeakEwmaConfig
from meshlib.model import Attempt
from meshlib.runtime import Clock, Rng

SILENCE = 16
"""Among endpoints that are all alike, at most one pick in SILENCE + 1 goes to the loser."""

TINY = 1e-9
"""Seconds no estimate falls below, so that costs may be divided."""


class PeakEwma:
    """Picks by latency and pending requests among `states`, of which there is at least one."""

    __slots__ = (
        "_clock", "_decay", "_draw", "_forced", "_latencies", "_mean", "_picks", "_ramp", "_random",
        "_states", "_weights",
    )  # fmt: skip

    def __init__(
        self,
        states: Sequence[EndpointState],
        rng: Rng,
        clock: Clock,
        config: PeakEwmaConfig,
        ramp: Ramp | None = None,
    ) -> None:
        self._states = tuple(states)
        self._draw = Draw(self._states, rng)
        self._latencies = [_latency_of(state, clock, config) for state in states]
        self._picks = [state.picks for state in states]
        self._weights = self._draw.weights
        self._mean = sum(self._weights) / len(states)
        self._random, self._clock, self._ramp = rng.random, clock, ramp
        self._decay, self._forced = config.decay, config.forced

    def pick(self, attempt: Attempt) -> Pick:
        """The better of two, or one that has waited too long."""
        tried, draw, latencies = attempt.call.tried, self._draw, self._latencies
        first, rival = draw.pair_untried(tried) if tried else draw.pair()
        now = self._clock()
        if (self._cheaper if draw.equal else self._luckier)(rival, first, now):
            first, rival = rival, first
        refused = self._ramp is not None and not self._ramp.accepts(first)
        silent = now - latencies[rival].picked
        starved = silent >= self._forced and silent > SILENCE * (now - latencies[first].picked)
        if refused or starved:
            first = rival
        latencies[first].picked = now
        state = self._states[first]
        return Pick(state, state.breaker.permit)

    def _cheaper(self, rival: int, first: int, now: float) -> bool:
        theirs, ours = self._latencies[rival], self._latencies[first]
        picks, decay = self._picks, self._decay
        return theirs.seconds * exp((theirs.at - now) / decay) * (len(picks[rival]) + 1) < (
            ours.seconds * exp((ours.at - now) / decay) * (len(picks[first]) + 1)
        )

    def _luckier(self, rival: int, first: int, now: float) -> bool:
        theirs, ours = self._latencies[rival], self._latencies[first]
        picks, decay, weights, mean = self._picks, self._decay, self._weights, self._mean
        our_weight, their_weight = weights[first], weights[rival]
        ratio = (
            (ours.seconds * exp((ours.at - now) / decay) + TINY)
            * (len(picks[first]) * mean / our_weight + 1)
            / (theirs.seconds * exp((theirs.at - now) / decay) + TINY)
            / (len(picks[rival]) * mean / their_weight + 1)
        )
        squared = ratio * ratio
        return self._random() * (our_weight + their_weight * squared * squared) >= our_weight


def _latency_of(state: EndpointState, clock: Clock, config: PeakEwmaConfig) -> Latency:
    """What is known of `state`, or a new estimate.  Pickers are built by one writer at a time."""
    latency = state.latency
    if latency is None:
        latency = state.latency = Latency(clock, config)
    latency.config = config
    return latency
