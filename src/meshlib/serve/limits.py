"""
`Gate`: how much of what is asked for is let in.

The order of the questions is the order of their cost, and of what a refusal means.  Shedding first:
an overloaded process should not think long.  Then the rates, where 429 blames the caller.  Then the
shared rates, which cost a round trip.  The concurrency limit last, for whoever holds a place in it
is served at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from meshlib.config import ServingConfig, SharedRatesConfig
from meshlib.errors import MeshError
from meshlib.observe.events import Listener
from meshlib.policy.concurrency import ConcurrencyLimit
from meshlib.policy.limiter import Asked, OverLimit, limit_headers
from meshlib.policy.rates import Rates, Visitor
from meshlib.policy.shared import SharedRates
from meshlib.policy.shed import Shedder
from meshlib.runtime import Clock, Rng, run_sync
from meshlib.serve.shed import Sensor
from meshlib.serve.told import Told, Turned
from meshlib.watch import Watch

_AT_ONCE = [("retry-after", "1")]
"""What a 503 says: another instance may have room now, this one perhaps in a second."""


class Store(Protocol):
    """Counts for all instances.  Both raise MeshError when it cannot."""

    def take(self, asked: Asked) -> OverLimit | None:
        """Count a request, or refuse it; blocks."""

    async def take_async(self, asked: Asked) -> OverLimit | None:
        """The same in an event loop."""

    def close(self) -> None:
        """Let go of connections."""


_Take: TypeAlias = Callable[[Store, Asked], Coroutine[Any, Any, OverLimit | None]]


class _Shared(NamedTuple):
    rates: SharedRates
    store: Store


class Gate:
    """The limits of what this process serves, following their configuration.

    `store` makes the store of the shared rates, `instances` tells how many share them.  `listener`
    hears what is refused in the name of `service`.
    """

    def __init__(
        self,
        config: Watch[ServingConfig],
        *,
        clock: Clock,
        rng: Rng,
        store: Callable[[SharedRatesConfig], Store],
        instances: Callable[[], int],
        service: str = "",
        listener: Listener | None = None,
    ) -> None:
        self.clock, self._rng, self._new_store, self._instances = clock, rng, store, instances
        self._told = Told(service, listener)
        self._config = config
        self._lock = threading.Lock()
        self._workers = 1
        self._rates: Rates | None = None
        self._shared: _Shared | None = None
        self.concurrency: ConcurrencyLimit | None = None
        self.shedder: Shedder | None = None
        self.sensor: Sensor | None = None
        self.active = False
        """Whether there is any limit."""
        config.subscribe(self._follow)

    def divide(self, workers: int) -> None:
        """Say that this process is one of so many that serve as one instance."""
        self._workers = workers
        self._follow()

    def close(self) -> None:
        """Let go of what it holds; it may be used again."""
        if self._shared is not None:
            self._shared.store.close()
        if self.sensor is not None:
            self.sensor.stop()

    # ---- asked by requests

    def turned(self, visitor: Visitor, priority: int) -> Turned | None:
        """Why the request is turned away, as far as this process knows by itself."""
        shedder, rates = self.shedder, self._rates
        if shedder is not None and shedder.refuses(priority):
            return self._told.turned("shed", Turned(503, f"overloaded: {shedder.why}", _AT_ONCE))
        over = rates.take(visitor) if rates is not None else None
        return None if over is None else self._told.turned("rate", _too_many(over))

    def turned_by_all(self, visitor: Visitor) -> Turned | None:
        """The same for the shared rates; blocks for their timeout at most."""

        async def take(store: Store, asked: Asked) -> OverLimit | None:
            return store.take(asked)

        return run_sync(self._turned_by_all(visitor, take))

    async def turned_by_all_async(self, visitor: Visitor) -> Turned | None:
        """The same in an event loop."""
        return await self._turned_by_all(visitor, lambda store, asked: store.take_async(asked))

    async def _turned_by_all(self, visitor: Visitor, take: _Take) -> Turned | None:
        shared = self._shared
        if shared is None:
            return None
        if shared.rates.due():
            try:
                over = await take(shared.store, shared.rates.asked(visitor))
            except MeshError as exc:
                self._told.store_failed(shared.rates, exc)
            else:
                self._told.store_answered(shared.rates)
                return None if over is None else self._told.turned("shared-rate", _too_many(over))
        over = shared.rates.without_store(visitor)
        return None if over is None else self._told.turned("shared-rate", _too_many(over))

    def place(self) -> Place | Turned:
        """A place among those that are served now."""
        concurrency = self.concurrency
        if concurrency is not None and not concurrency.try_acquire():
            reason = f"{concurrency.limit} requests are being served, which is the limit"
            return self._told.turned("concurrency", Turned(503, reason, _AT_ONCE))
        return Place(concurrency, self.clock)

    # ---- how it follows

    def _follow(self) -> None:
        config = self._config.value
        with self._lock:
            self._follow_rates(config)
            self._follow_shared(config)
            self._follow_concurrency(config)
            self._follow_shed(config)
            parts = self._rates, self._shared, self.concurrency, self.shedder
            self.active = any(part is not None for part in parts)

    def _follow_rates(self, config: ServingConfig) -> None:
        share = 1 / self._workers
        if config.rate is None:
            self._rates = None
        elif self._rates is None:
            self._rates = Rates(self.clock, config.rate, share=share)
        else:
            self._rates.configure(config.rate, share=share)

    def _follow_shared(self, config: ServingConfig) -> None:
        old, new = self._shared, config.shared_rate
        if old is not None and new is not None and _same_store(old.rates.config, new):
            old.rates.configure(new)
            return
        if old is not None:
            old.store.close()
        self._shared = None if new is None else self._new_shared(new)

    def _new_shared(self, config: SharedRatesConfig) -> _Shared:
        rates = SharedRates(self.clock, config, self._sharing)
        return _Shared(rates, self._new_store(config))

    def _sharing(self) -> int:
        return self._instances() * self._workers

    def _follow_concurrency(self, config: ServingConfig) -> None:
        new = config.concurrency
        if new is not None and new.limit:
            each = max(1, new.limit // self._workers)
            new = msgspec.structs.replace(new, limit=each)
        if new is None:
            self.concurrency = None
        elif self.concurrency is None:
            self.concurrency = ConcurrencyLimit(self.clock, new)
        else:
            self.concurrency.configure(new)

    def _follow_shed(self, config: ServingConfig) -> None:
        if config.shed is None:
            if self.sensor is not None:
                self.sensor.stop()
            self.shedder = self.sensor = None
        elif self.shedder is None:
            self.shedder = Shedder(config.shed, self._rng)
            self.sensor = Sensor(self.shedder, config.shed.interval, self.clock)
        else:
            self.shedder.configure(config.shed)


class Place:
    """A place among those that are served, until `leave`."""

    __slots__ = ("_began", "_clock", "_concurrency")

    def __init__(self, concurrency: ConcurrencyLimit | None, clock: Clock) -> None:
        self._concurrency, self._clock = concurrency, clock
        self._began = clock()

    def leave(self, status: int) -> None:
        """Give it up; `status` is what was answered, 0 when nothing can be learned from it."""
        if self._concurrency is not None:
            if 0 < status < 500:
                self._concurrency.observe(self._clock() - self._began)
            self._concurrency.release()


def _same_store(old: SharedRatesConfig, new: SharedRatesConfig) -> bool:
    return (old.url, old.timeout) == (new.url, new.timeout)


def _too_many(over: OverLimit) -> Turned:
    quota = over.quota
    reason = f"rate limit {over.name!r}: {quota.limit:g} in {quota.per:g} s"
    return Turned(429, reason, limit_headers(over))
