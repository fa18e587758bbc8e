"""Threads for calls whose caller does not wait: futures, and streams that have not begun."""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Work: TypeAlias = Callable[[], None]

MOST = 512
"""Threads at most; what is more waits for one."""
IDLE = 5.0
"""Seconds a thread without work stays."""


class Workers:
    """Daemon threads, each started by work that finds none idle; none survives a fork."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._threads = self._idle = 0

    def start(self, work: Work) -> None:
        """Have `work`, which raises nothing, done soon, in the context of the caller."""
        if self._pid != os.getpid():
            self._reset()
        context = contextvars.copy_context()
        with self._changed:
            self._waiting.append(lambda: context.run(work))
            if self._idle < len(self._waiting) and self._threads < MOST:
                self._threads += 1
                threading.Thread(target=self._serve, name="meshlib-grpc", daemon=True).start()
            else:
                self._changed.notify()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting, IDLE)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None
