"""
What calls to one service may take of this process, so that one that hangs does not take it all.

Envoy's four thresholds.  A place on the wire is handed over in the order of asking: whoever gives
one up gives it to the first who waits, so nobody who comes later overtakes.
"""

from __future__ import annotations

import threading
from collections import deque

from meshlib.config import BulkheadConfig
from meshlib.watch import Watch


class Place:
    """A place on the wire, or the wait for one; a `Signal` that is ready once it is held."""

    __slots__ = ("_held", "subscribe", "waiting")

    def __init__(self) -> None:
        self.waiting = False
        """Whether it stands in the queue; for the bulkhead alone."""
        self._held = Watch(0)
        self.subscribe = self._held.subscribe

    @property
    def ready(self) -> bool:
        """Whether it is held."""
        return self._held.ready

    def give(self) -> None:
        """It is held from now on."""
        self._held.set(1)


_AT_ONCE = Place()
"""Of all who need not wait: there is nothing to tell them apart by."""
_AT_ONCE.give()


class Bulkhead:
    """Counts of this process's calls to one service.  Thread-safe."""

    __slots__ = ("_config", "_lock", "_waiting", "connections", "requests", "retries")

    def __init__(self, config: BulkheadConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._waiting: deque[Place] = deque()
        self.connections = 0
        self.requests = 0
        self.retries = 0

    @property
    def pending(self) -> int:
        """How many wait for a place on the wire."""
        return len(self._waiting)

    def configure(self, config: BulkheadConfig) -> None:
        """Use other bounds; who holds or waits for something goes on doing so."""
        with self._lock:
            self._config = config
            woken = self._pass_on()
        _wake(woken)

    # ---- calls

    def try_request(self) -> bool:
        """Begin a call, if there is room."""
        with self._lock:
            if self.requests >= self._config.requests:
                return False
            self.requests += 1
            return True

    def end_request(self) -> None:
        """End it."""
        with self._lock:
            self.requests -= 1

    def try_retry(self) -> bool:
        """Have one more call be tried again, if there is room."""
        with self._lock:
            if self.retries >= self._config.retries:
                return False
            self.retries += 1
            return True

    def end_retry(self) -> None:
        """That call has ended."""
        with self._lock:
            self.retries -= 1

    # ---- the wire

    def enter(self) -> Place | None:
        """A place that is held or will be; None: too many are waiting already."""
        with self._lock:
            if self.connections < self._config.connections and not self._waiting:
                self.connections += 1
                return _AT_ONCE
            if len(self._waiting) >= self._config.pending:
                return None
            place = Place()
            place.waiting = True
            self._waiting.append(place)
            return place

    def leave(self, place: Place) -> None:
        """Give up a place, or the wait for one: exactly once, whatever became of it."""
        with self._lock:
            if place.waiting:
                self._waiting.remove(place)
                return
            self.connections -= 1
            if not self._waiting:
                return
            woken = self._pass_on()
        _wake(woken)

    def _pass_on(self) -> list[Place]:
        woken = []
        while self._waiting and self.connections < self._config.connections:
            self.connections += 1
            first = self._waiting.popleft()
            first.waiting = False
            woken.append(first)
        return woken

    def __repr__(self) -> str:
        return (
            f"<Bulkhead {self.connections} on the wire, {self.pending} pending, "
            f"{self.requests} calls, {self.retries} retried>"
        )


def _wake(places: list[Place]) -> None:
    """Outside of the lock: a woken waiter may ask for something at once."""
    for place in places:
        place.give()
