"""
How long attempts take, and how long one may therefore take.

`Latencies` is a histogram of exponentially growing buckets whose counts fade: constant memory, no
sample is kept, the error of a quantile is at most half a bucket (5 %).  HdrHistogram and DDSketch
(Masson, Rim and Lee, VLDB 2019) have buckets of this shape; the fading by half-life is that of
Prometheus' and Envoy's circular histograms made smooth.
"""

from __future__ import annotations

import threading
from math import ceil, inf, log

GROWTH = 1.1
"""Each bucket's upper end over its lower one."""
SHORTEST = 1e-4
"""Seconds, the upper end of the first bucket ..."""
LONGEST = 1e3
"""... and of the last."""
HALF_LIFE = 10.0
"""Seconds after which a sample counts half: the decay of Finagle's and Linkerd's peak EWMA."""
ENOUGH = 20
"""Samples, faded ones in proportion, below which nothing is known of the tail."""
SAFETY = 2.0
"""An attempt gets twice the 99th percentile ..."""
TAIL = 0.99
LEAST = 0.05
"""... and at least 50 ms: aio-request's least hedging delay, far above a garbage collection."""

_LOG = log(GROWTH)
_BUCKETS = ceil(log(LONGEST / SHORTEST) / _LOG) + 1
_STALE = 1 / 16
"""A quantile is worked out again when the samples have grown by this share."""


class Latencies:
    """Recent latencies of one upstream; any thread may write and read."""

    __slots__ = ("_answers", "_counts", "_due", "_lock", "_new", "_total")

    def __init__(self) -> None:
        self._counts = [0.0] * _BUCKETS
        self._total = 0.0
        self._due = -inf  # when all counts are halved again; nothing is counted yet
        self._new = 0
        self._answers: dict[float, float | None] = {}
        self._lock = threading.Lock()

    def observe(self, seconds: float, now: float) -> None:
        """Count one attempt that took `seconds`; `now` is on any clock, always the same one."""
        with self._lock:
            self._fade(now)
            self._counts[_bucket(seconds)] += 1
            self._total += 1
            self._new += 1
            if self._new > self._total * _STALE:
                self._answers, self._new = {}, 0

    def quantile(self, share: float, now: float) -> float | None:
        """Seconds that this share of recent attempts did not exceed; None: too few are known."""
        answers = self._answers
        if share in answers and now < self._due:
            return answers[share]  # what was worked out is replaced, not changed: no lock needed
        with self._lock:
            self._fade(now)
            if share not in self._answers:
                self._answers[share] = self._quantile(share)
            return self._answers[share]

    def _fade(self, now: float) -> None:
        if self._due == -inf:
            self._due = now + HALF_LIFE
        if now < self._due:
            return
        lives = 1 + int((now - self._due) / HALF_LIFE)
        self._due += lives * HALF_LIFE
        factor = 0.5 ** min(lives, 1000)
        self._counts = [count * factor for count in self._counts]
        self._total = sum(self._counts)
        self._answers, self._new = {}, 0

    def _quantile(self, share: float) -> float | None:
        if self._total < ENOUGH:
            return None
        wanted = share * self._total
        for index, count in enumerate(self._counts):
            wanted -= count
            if wanted <= 0 and count:
                return _seconds(index)
        return LONGEST  # what rounding left over

    def __repr__(self) -> str:
        return f"<Latencies {self._total:.0f} samples>"


def per_try(tail: float | None, left: float, attempts_left: int) -> float:
    """Seconds for an attempt after which `attempts_left - 1` more may be made.

    Twice the tail of recent attempts, at least 50 ms, at most an even share of the time left; the
    last attempt, and every one while the tail is not known, has all of it.  An attempt that is cut
    must be observed as one that took that long: were it left out, an upstream that became slower
    than the limit would never be seen to answer again.
    """
    if tail is None or attempts_left <= 1:
        return left
    return min(max(SAFETY * tail, LEAST), left / attempts_left)


def _bucket(seconds: float) -> int:
    if seconds <= SHORTEST:
        return 0
    return min(ceil(log(seconds / SHORTEST) / _LOG), _BUCKETS - 1)


def _seconds(index: int) -> float:
    """The upper end of a bucket: a limit made of it is never below what was seen."""
    return SHORTEST * float(GROWTH**index)
