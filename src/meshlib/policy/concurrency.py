"""How many requests at a time: a fixed number, or what their latency allows."""

from __future__ import annotations

import threading

from meshlib.config import ConcurrencyConfig
from meshlib.policy.gradient import Gradient
from meshlib.runtime import Clock


class ConcurrencyLimit:
    """A count of what is in flight, and its limit.  Thread-safe.

    Each `try_acquire` that returned true is followed by one `release`.
    """

    __slots__ = ("_clock", "_config", "_gradient", "_lock", "in_flight", "limit")

    def __init__(self, clock: Clock, config: ConcurrencyConfig) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._gradient: Gradient | None = None
        self.in_flight = 0
        self.configure(config)

    def configure(self, config: ConcurrencyConfig) -> None:
        """Use other settings; what is in flight stays counted, what was learned stays known."""
        with self._lock:
            self._config = config
            if config.limit:
                self._gradient = None
                self.limit = config.limit
                return
            if self._gradient is None:
                self._gradient = Gradient(config, self._clock())
            self._gradient.configure(config)
            self.limit = self._gradient.limit

    def try_acquire(self) -> bool:
        """Count one more, if there is room."""
        with self._lock:
            if self.in_flight >= self.limit:
                return False
            self.in_flight += 1
            return True

    def release(self) -> None:
        """Count one less."""
        with self._lock:
            self.in_flight -= 1

    def observe(self, seconds: float) -> None:
        """One that is still counted succeeded, after `seconds`.

        Failures are not told: those that come fast would look like a server with room.
        """
        if self._gradient is None:
            return
        with self._lock:
            if self._gradient is not None:
                self._gradient.observe(seconds, self.in_flight, self._clock())
                self.limit = self._gradient.limit

    def __repr__(self) -> str:
        kind = "adaptive" if self._gradient else "fixed"
        return f"<ConcurrencyLimit {self.in_flight} of {self.limit}, {kind}>"
