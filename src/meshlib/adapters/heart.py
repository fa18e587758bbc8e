"""
What beats for a `StallMeter`: a timer in an event loop, or a thread for code that has none.

A loop that is blocked beats late, and so does a thread when the interpreter is held by an
extension, or when the process is stopped or starved of CPU.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref

from meshlib.policy.stall import Heard, StallMeter, by_nobody
from meshlib.runtime import Clock


class LoopHeart:
    """Beats in the running loop until `stop`."""

    def __init__(self, clock: Clock, heard: Heard = by_nobody) -> None:
        self.meter = StallMeter(heard)
        self._clock = clock
        self._beat()

    def _beat(self) -> None:
        now = self._clock()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.meter.beat(now) - now, self._beat)

    def stop(self) -> None:
        """Do not beat again."""
        self._timer.cancel()
        self.meter.stop()


class ThreadHeart:
    """Beats on a daemon thread, from `start` until `stop`; in a forked child on one of its own."""

    def __init__(self, clock: Clock, heard: Heard = by_nobody) -> None:
        self.meter = StallMeter(heard)
        self._clock = clock
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        _hearts.add(self)

    def start(self) -> None:
        """Beat, if it does not already."""
        with self._lock:
            if self._thread is None and not self._end.is_set():
                self._thread = threading.Thread(target=self._run, name="meshlib-heart", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Do not beat again."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self.meter.stop()

    def after_fork(self) -> None:
        """The child has no thread, and must not take that for a stall."""
        self.meter.stop()
        self._lock = threading.Lock()
        ended, self._end = self._end.is_set(), threading.Event()
        beat, self._thread = self._thread is not None, None
        if ended:
            self._end.set()
        elif beat:
            self.start()

    def _run(self) -> None:
        left = self.meter.beat(self._clock()) - self._clock()
        while not self._end.wait(max(left, 0.0)):
            now = self._clock()
            left = self.meter.beat(now) - now


_hearts: weakref.WeakSet[ThreadHeart] = weakref.WeakSet()


def _after_in_child() -> None:
    for heart in tuple(_hearts):
        heart.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
