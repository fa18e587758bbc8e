"""
Rate limits: the generic cell rate algorithm (ITU-T I.371), a leaky bucket that is one number.

A bucket remembers one moment, its *end*: when it would have run dry of all that was let through,
had it come evenly, `interval` apart.  A request is let through if that moment, moved on by one
interval, is at most `span` = burst * interval away.  So no window of t seconds, wherever it begins,
lets more through than burst + rate * t, and who is refused knows exactly when to come back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from math import ceil, floor, inf
from typing import NamedTuple, TypeAlias

from meshlib.config import QuotaConfig
from meshlib.runtime import Clock


class Meter:
    """One quota, and a bucket for every key that draws on it.  Not thread-safe: see `RateLimiter`.

    At most `max_keys` are remembered.  A bucket that has run dry is as good as none, so the one
    that was not used for longest is forgotten if it is dry.  If it is not, forgetting it would
    forgive its owner: then it is the newcomer who gets no bucket, and shares one with its like.
    """

    __slots__ = ("_ends", "_max_keys", "_overflow", "interval", "name", "quota", "span")

    def __init__(
        self, name: str, quota: QuotaConfig, *, max_keys: int = 1, share: float = 1.0
    ) -> None:
        self.name = name
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._overflow = -inf
        self._max_keys = max_keys
        self._use(quota, share)

    def _use(self, quota: QuotaConfig, share: float) -> None:
        self.quota = quota
        self.interval = 1 / (quota.rate * share)
        """Seconds between two requests that come evenly."""
        self.span = max(1, floor(quota.depth * share)) * self.interval
        """Seconds of such requests that may come at once."""

    def configure(
        self, quota: QuotaConfig, now: float, *, share: float = 1.0, max_keys: int = 1
    ) -> None:
        """Use another quota; what was taken out of each bucket stays taken."""
        before, self._max_keys = self.interval, max_keys
        self._use(quota, share)
        if before == self.interval:
            return
        scale = self.interval / before
        for key, end in self._ends.items():
            self._ends[key] = now + max(0.0, end - now) * scale
        self._overflow = now + max(0.0, self._overflow - now) * scale

    def wait(self, key: str, now: float) -> float:
        """Seconds until this key may have one more; zero or less: it may have it now."""
        end = self._ends.get(key)
        if end is None:
            end = self._overflow if self._full(now) else -inf
        return max(now, end) + self.interval - self.span - now

    def take(self, key: str, now: float) -> None:
        """Count one request of this key."""
        ends = self._ends
        end = ends.get(key)
        if end is not None:
            ends.move_to_end(key)
        elif self._full(now):
            self._overflow = max(self._overflow, now) + self.interval
            return
        else:
            while len(ends) >= self._max_keys:
                ends.popitem(last=False)
        ends[key] = (now if end is None or end < now else end) + self.interval

    def _full(self, now: float) -> bool:
        if len(self._ends) < self._max_keys:
            return False
        return self._ends[next(iter(self._ends))] > now

    def __len__(self) -> int:
        return len(self._ends)

    def __repr__(self) -> str:
        return (
            f"<Meter {self.name!r} {self.quota.limit:g} per {self.quota.per:g} s, {len(self)} keys>"
        )


Asked: TypeAlias = Sequence[tuple[Meter, str]]
"""What one request draws on: meters, each with the key it is counted under."""


class OverLimit(NamedTuple):
    """A refusal, and when it would not be one."""

    name: str
    """Of the meter."""
    quota: QuotaConfig
    wait: float
    """Seconds."""


class RateLimiter:
    """Decides over several meters at once.  Thread-safe.

    A request that one of them refuses is counted by none: a caller who is over its own quota does
    not use up what all share.
    """

    __slots__ = ("_clock", "lock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lock = threading.Lock()
        """Held by whoever changes a meter."""

    def take(self, asked: Asked) -> OverLimit | None:
        """Count one request, or say which meter refuses it for longest."""
        with self.lock:
            now = self._clock()
            longest, over = 0.0, None
            for meter, key in asked:
                wait = meter.wait(key, now)
                if wait > longest + _ROUNDING:
                    longest, over = wait, meter
            if over is not None:
                return OverLimit(over.name, over.quota, longest)
            for meter, key in asked:
                meter.take(key, now)
        return None


_ROUNDING = 1e-9
"""Seconds: sums of floats may be that far off, and nobody waits for a nanosecond."""


def limit_headers(over: OverLimit) -> list[tuple[str, str]]:
    """What a 429 says: RFC 9110 section 10.2.3, and draft-ietf-httpapi-ratelimit-headers-08 on.

    Quota and window are integers there: the shortest window of whole seconds that a full burst
    fits in, and what may come in it at an even rate.
    """
    quota, wait = over.quota, max(1, ceil(over.wait))
    window = max(1, ceil(quota.depth / quota.rate - _ROUNDING))
    amount = max(quota.depth, floor(quota.rate * window + _ROUNDING))
    return [
        ("retry-after", str(wait)),
        ("ratelimit-policy", f'"{over.name}";q={amount};w={window}'),
        ("ratelimit", f'"{over.name}";r=0;t={wait}'),
    ]
