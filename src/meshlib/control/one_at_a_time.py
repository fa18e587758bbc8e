"""Work that many threads may ask for, and one does."""

from __future__ import annotations

import threading
from collections.abc import Callable


class OneAtATime:
    """Does `work` when called, never in two threads at once.

    A call that comes meanwhile is made up for at the end, by the thread that is at work.  No lock
    is held while it works, so it may take whatever locks it likes.
    """

    __slots__ = ("_lock", "_running", "_wanted", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running = self._wanted = False

    def __call__(self) -> None:
        """Work, or leave it to the thread that is at it."""
        with self._lock:
            self._wanted = True
            if self._running:
                return
            self._running = True
        try:
            while self._taken():
                self._work()
        except BaseException:
            self._running = False
            raise

    def _taken(self) -> bool:
        with self._lock:
            self._running = wanted = self._wanted
            self._wanted = False
            return wanted
