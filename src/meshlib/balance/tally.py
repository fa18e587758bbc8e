"""How many requests are pending at all endpoints of an upstream together."""

from __future__ import annotations

import threading


class Tally:
    """Shared by the endpoints of one upstream; `pending` may be read without the lock."""

    __slots__ = ("_lock", "pending")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pending = 0

    def add(self, change: int) -> None:
        """Count `change` more."""
        with self._lock:
            self.pending += change
