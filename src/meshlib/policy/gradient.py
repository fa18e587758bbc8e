"""
How many requests at a time are good: the gradient of their latency.

While a server has room, latency does not depend on how many requests it works on; once it has none,
they queue, and latency grows with their number.  So compare the latency now with the *baseline*,
the latency without a queue:

1. Samples gather in windows; a window's latency is its median.  The baseline is the lowest median.
2. gradient = baseline * (1 + headroom) / latency, held within [0.5, 1]; the limit becomes
   limit * gradient + sqrt(limit), where the root is the queue that is tolerated.
3. The limit stays where it is while less than half of it is used: nothing was learned about it.
4. A baseline is believed for `renewal` seconds.  If none of the windows since then had half of the
   limit in flight, the lowest of them is the new one.  Otherwise all of them may have queued, and a
   baseline learned from queues would creep up for ever.  Then, and at the start, it is *measured*:
   the limit is halved window by window for as long as that makes requests faster, and restored.

Rule 2 is Envoy's adaptive concurrency filter and Netflix's Gradient2, rule 3 Netflix's.  Rule 4
stands for Envoy's minRTT phase, which holds the limit at 3 for 50 requests every minute and refuses
everybody else meanwhile; here a limit that is about right is quartered for two windows.
"""

from __future__ import annotations

from math import inf, sqrt

from meshlib.config import ConcurrencyConfig

_STEEPEST = 0.5
"""One window takes at most half of the limit away: Envoy's and Netflix's clamp."""
_FASTER = 0.75
"""Of the latency before: half of a queue takes half the time, no queue takes the same."""


class Gradient:
    """Turns samples of latency into a limit.  Pure, and not thread-safe."""

    __slots__ = (
        "_before",
        "_began",
        "_busiest",
        "_config",
        "_fresh",
        "_limit",
        "_renewed",
        "_samples",
        "_usual",
        "baseline",
    )

    def __init__(self, config: ConcurrencyConfig, now: float) -> None:
        self._config = config
        self._limit = float(config.initial)
        self._samples: list[float] = []
        self._busiest = 0
        self._began = self._renewed = now
        self._fresh = self._before = inf
        self._usual = self._limit  # while a baseline is measured: the limit to go back to
        self.baseline = inf
        """Seconds a request takes when nothing queues; inf until measured."""

    @property
    def limit(self) -> int:
        """How many at a time."""
        return int(self._limit)

    def configure(self, config: ConcurrencyConfig) -> None:
        """Use other settings from the next window on; limit and baseline stay."""
        self._config = config
        self._limit = self._held(self._limit)

    def observe(self, seconds: float, in_flight: int, now: float) -> None:
        """A request that succeeded took `seconds`, and was one of `in_flight`."""
        if self._usual and now - seconds < self._began:
            return  # it began under another limit than the one being measured
        self._samples.append(seconds)
        self._busiest = max(self._busiest, in_flight)
        enough = len(self._samples) >= self._config.samples
        if enough and now - self._began >= self._config.window:
            self._decide(now)
        elif len(self._samples) >= 2 * _MOST_SAMPLES:
            self._samples = self._samples[-_MOST_SAMPLES:]

    def _decide(self, now: float) -> None:
        latency = sorted(self._samples)[len(self._samples) // 2]
        half_used = self._busiest >= self._limit / 2
        self._samples, self._busiest, self._began = [], 0, now
        if self._usual:
            self._measure(latency, now, half_used=half_used)
            return
        self.baseline = min(self.baseline, latency)
        if not half_used:
            self._fresh = min(self._fresh, latency)
        if now - self._renewed >= self._config.renewal:
            self._renew(now)
        elif half_used:
            self._adjust(latency)

    def _adjust(self, latency: float) -> None:
        allowed = self.baseline * (1 + self._config.headroom)
        gradient = max(_STEEPEST, min(1.0, allowed / latency)) if latency > 0 else 1.0
        self._limit = self._held(self._limit * gradient + sqrt(self._limit))

    def _renew(self, now: float) -> None:
        """Take a fresh baseline if there is one, else begin to measure one."""
        if self._fresh < inf:
            self._believe(self._fresh, now)
        else:
            self._usual, self._before = self._limit, inf

    def _measure(self, latency: float, now: float, *, half_used: bool) -> None:
        faster = latency < _FASTER * self._before
        if half_used and faster and self._limit > self._config.least:
            self._before, self._limit = latency, self._held(self._limit / 2)
            return
        self._limit, self._usual = self._held(self._usual), 0.0
        self._believe(min(latency, self._before), now)

    def _believe(self, baseline: float, now: float) -> None:
        self.baseline, self._fresh, self._renewed = baseline, inf, now

    def _held(self, limit: float) -> float:
        return max(float(self._config.least), min(float(self._config.most), limit))

    def __repr__(self) -> str:
        return f"<Gradient {self.limit} at a time, baseline {self.baseline * 1000:.3g} ms>"


_MOST_SAMPLES = 1000
"""Kept of one window: a median needs no more, and a fast service must not fill the memory."""
