"""
Rate limits that all instances count together, and what to do while nobody counts.

The count lives in a store on the network.  A store that fails is left alone for a pause, so that
not every request waits for its timeout in turn; then one request asks it again, and its answer puts
it back in place.  Meanwhile this process counts for itself, with the share of each quota that is
one live instance's (go-zero's rescue), or lets everybody or nobody through, as configured.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from meshlib.config import QuotaConfig, SharedRatesConfig
from meshlib.policy.limiter import Asked, OverLimit
from meshlib.policy.rates import Rates, Visitor
from meshlib.runtime import Clock

_DENIED = "shared"


class SharedRates:
    """The part of a shared limit that is this process's.  Does no I/O; thread-safe.

    `instances` gives the number of live instances, this one included.
    """

    def __init__(
        self, clock: Clock, config: SharedRatesConfig, instances: Callable[[], int]
    ) -> None:
        self._clock, self._instances = clock, instances
        self._lock = threading.Lock()
        self._again_at: float | None = None
        self._divided = 1
        self._whole = Rates(clock, config)
        self._rescue = Rates(clock, config)
        self.config = config

    def configure(self, config: SharedRatesConfig) -> None:
        """Use other quotas; what this process counted stays counted."""
        with self._lock:
            self.config = config
            self._whole.configure(config)
            self._rescue.configure(config)

    @property
    def down(self) -> bool:
        """Whether the store's last answer was none."""
        return self._again_at is not None

    def asked(self, visitor: Visitor) -> Asked:
        """What the store is to count."""
        return self._whole.asked(visitor)

    def due(self) -> bool:
        """Whether to ask the store; of those who come after a pause, the first only."""
        if self._again_at is None:
            return True
        with self._lock:
            now = self._clock()
            if now < (self._again_at or 0.0):
                return False
            self._again_at = now + self.config.pause
            return True

    def answered(self) -> bool:
        """The store answered; whether that is news."""
        if self._again_at is None:
            return False
        self._again_at = None
        return True

    def failed(self) -> bool:
        """The store did not answer; whether that is news."""
        with self._lock:
            news = self._again_at is None
            self._again_at = self._clock() + self.config.pause
        return news

    def without_store(self, visitor: Visitor) -> OverLimit | None:
        """Decide alone."""
        if self.config.on_failure == "allow":
            return None
        if self.config.on_failure == "deny":
            return OverLimit(_DENIED, QuotaConfig(limit=1, per=1), self.config.pause)
        instances = max(1, self._instances())
        if instances != self._divided:
            with self._lock:
                self._divided = instances
                self._rescue.configure(self.config, share=1 / instances)
        return self._rescue.take(visitor)

    def __repr__(self) -> str:
        return f"<SharedRates {'without' if self.down else 'with'} store, {self._whole!r}>"
