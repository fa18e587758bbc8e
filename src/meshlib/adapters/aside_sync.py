"""
Where synchronous clients have work done that nobody waits for: on daemon threads.

So much at a time, and what is more is refused; at the end it is waited for, for a bounded time.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeAlias

from meshlib.runtime import run_sync

Work: TypeAlias = Coroutine[Any, Any, None]

MOST = 64
"""Pieces of work under way or waiting; what is mirrored is a sample, not a queue."""
THREADS = 4
"""Threads at most; they end when there has been nothing to do for ..."""
IDLE = 5.0
"""... so many seconds."""
LAST = 2.0
"""Seconds the end waits for what is under way."""


class Threads:
    """Daemon threads, started by the first work; none survives a fork, so none is missed."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._threads = self._busy = 0
        self._closed = False

    def __call__(self, work: Work) -> bool:
        """Have `work` done by one of the threads; False: there is no room."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._reset()
        with self._changed:
            if self._closed or len(self._waiting) + self._busy >= MOST:
                work.close()
                return False
            self._waiting.append(work)
            if self._threads < min(THREADS, self._busy + len(self._waiting)):
                self._threads += 1
                threading.Thread(target=self._serve, name="meshlib-aside", daemon=True).start()
            self._changed.notify()
        return True

    def close(self, seconds: float = LAST) -> None:
        """Take no more work, and wait up to `seconds` for what was taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._waiting or self._busy), seconds)
            while self._waiting:
                self._waiting.popleft().close()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            try:
                run_sync(work)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next(self) -> Work | None:
        """The next piece of work; None: the thread is not needed any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, IDLE)
            if not self._waiting:
                self._threads -= 1
                return None
            self._busy += 1
            return self._waiting.popleft()
