"""
What limits the calls of this process to one service, as configured now.

Each part is None while it is off, so that a layer sees with one look that it has nothing to do.
Configuring one that is on changes it in place: its counts and what it learned stay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from meshlib.config import CircuitConfig, QuotaConfig, UpstreamConfig
from meshlib.policy.bulkhead import Bulkhead
from meshlib.policy.circuit import CircuitListener
from meshlib.policy.circuits import Circuits
from meshlib.policy.concurrency import ConcurrencyLimit
from meshlib.policy.limiter import Meter, OverLimit, RateLimiter
from meshlib.runtime import Clock, Rng


class CallRate:
    """How many calls this process makes."""

    __slots__ = ("_clock", "_limiter", "_meter")

    def __init__(self, clock: Clock, quota: QuotaConfig) -> None:
        self._clock = clock
        self._limiter = RateLimiter(clock)
        self._meter = Meter("calls", quota)

    def configure(self, quota: QuotaConfig) -> None:
        """Use another quota; what was taken stays taken."""
        with self._limiter.lock:
            self._meter.configure(quota, self._clock())

    def take(self) -> OverLimit | None:
        """Count a call, or refuse it."""
        return self._limiter.take(((self._meter, ""),))


class Guards:
    """Rate, concurrency, bulkhead and circuits of one destination, shared by all its clients."""

    def __init__(
        self,
        service: str,
        clock: Clock,
        rng: Rng,
        config: UpstreamConfig,
        listener: CircuitListener | None = None,
    ) -> None:
        self.service, self._clock, self._rng, self._listener = service, clock, rng, listener
        self._lock = threading.Lock()
        self.rate: CallRate | None = None
        self.concurrency: ConcurrencyLimit | None = None
        self.bulkhead: Bulkhead | None = None
        self.circuits: Circuits | None = None
        self.limiting = False
        """Whether there is any of the first three."""
        self.configure(config)

    def configure(self, config: UpstreamConfig) -> None:
        """Follow another configuration."""
        clock = self._clock
        with self._lock:
            self.rate = _follow(self.rate, config.rate, partial(CallRate, clock))
            self.concurrency = _follow(
                self.concurrency, config.concurrency, partial(ConcurrencyLimit, clock)
            )
            self.bulkhead = _follow(self.bulkhead, config.bulkhead, Bulkhead)
            self.circuits = _follow(self.circuits, config.circuit, self._new_circuits)
            parts = self.rate, self.concurrency, self.bulkhead
            self.limiting = any(part is not None for part in parts)

    def _new_circuits(self, config: CircuitConfig) -> Circuits:
        return Circuits(self.service, self._clock, self._rng, config, self._listener)

    def __repr__(self) -> str:
        parts = self.rate, self.concurrency, self.bulkhead, self.circuits
        return f"<Guards of {self.service!r}: {[part for part in parts if part is not None]}>"


ConfigT = TypeVar("ConfigT", contravariant=True)


class _Part(Protocol[ConfigT]):
    def configure(self, config: ConfigT, /) -> None: ...


PartT = TypeVar("PartT", bound=_Part[Any])
AnyConfigT = TypeVar("AnyConfigT")


def _follow(
    part: PartT | None, config: AnyConfigT | None, make: Callable[[AnyConfigT], PartT]
) -> PartT | None:
    """The part as it shall be: gone, new, or the same one with other settings."""
    if config is None:
        return None
    if part is None:
        return make(config)
    part.configure(config)
    return part
