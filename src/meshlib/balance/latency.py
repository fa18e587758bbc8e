"""
How slow an endpoint is: a moving average of its latency that jumps to peaks.

The estimate is Finagle's Peak EWMA (`com.twitter.finagle.loadbalancer.p2c`), as in linkerd2-proxy.

1. A sample above the estimate replaces it: what has become slow is avoided at once.
2. A sample below pulls it down, the more the longer the last one is ago: with time constant
   `decay`, so that a burst of fast answers does not outweigh ten slow seconds.
3. A *read* decays as well: who is avoided sends no more samples, and would otherwise be taken for
   slow for ever after a single spike.  Nothing is written, so reading needs no lock.
4. A failure counts as at least its penalty.  A host that answers 503 in a millisecond would look
   like the fastest of all and draw all traffic (Linkerd: failure bias).
5. A request given up has taken *at least* so long: it may raise the estimate, never lower it.
"""

from __future__ import annotations

from math import exp

from meshlib.config import PeakEwmaConfig
from meshlib.model import Verdict
from meshlib.runtime import Clock


class Latency:
    """The estimate for one endpoint.

    Reports take no lock: of two that come at the very same moment one may not count.

    It is `seconds` times e ** ((at - now) / decay); balancers do that themselves, as a call would
    cost as much again.
    """

    __slots__ = ("_clock", "at", "config", "picked", "seconds")

    def __init__(self, clock: Clock, config: PeakEwmaConfig) -> None:
        self._clock = clock
        self.config = config
        self.seconds = config.seed
        """The estimate, as it stood ..."""
        self.at = clock()
        """... when it was last written, on the clock."""
        self.picked = self.at
        """When a balancer last chose it; later than now while it asks to be left alone."""

    def read(self, now: float) -> float:
        """The estimate in seconds, as it has decayed by `now`."""
        return self.seconds * exp((self.at - now) / self.config.decay)

    def report(self, verdict: Verdict, seconds: float, penalty: float | None) -> None:
        """Take in an attempt of `seconds`; a failure's `penalty` is how slow it asks to look."""
        now = self._clock()
        if penalty is not None:
            seconds = max(seconds, self._bias(penalty))
            self.picked = now + seconds
        if seconds < self.seconds:
            if verdict.ignored:
                return
            kept = exp((self.at - now) / self.config.decay)
            seconds += (self.seconds - seconds) * kept
        self.seconds, self.at = seconds, now

    def _bias(self, asked: float) -> float:
        return min(max(asked, self.config.penalty), self.config.max_penalty)
