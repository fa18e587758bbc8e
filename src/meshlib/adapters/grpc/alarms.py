"""Calls back later, on one thread for everybody."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from meshlib.runtime import Clock

IDLE = 5.0
"""Seconds the thread stays when there is nothing to wait for."""


class Alarm:
    """One call that is to come, unless it is called off."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def call_off(self) -> None:
        """Have it not called, if it is not too late."""
        self.call = None


class Alarms:
    """A daemon thread, started by the first alarm; none survives a fork."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._serving = False

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Have `call`, which is quick and raises nothing, called in so many seconds."""
        if self._pid != os.getpid():
            self._reset()
        alarm = Alarm(call)
        with self._changed:
            entry = (self._clock() + seconds, next(self._order), alarm)
            heappush(self._heap, entry)
            if not self._serving:
                self._serving = True
                threading.Thread(target=self._serve, name="meshlib-alarms", daemon=True).start()
            elif self._heap[0] is entry:
                self._changed.notify()
        return alarm

    def _serve(self) -> None:
        while (alarm := self._next()) is not None:
            call = alarm.call
            if call is not None:
                call()

    def _next(self) -> Alarm | None:
        """Wait for the next one; None: the thread is not needed any more."""
        with self._changed:
            while True:
                left = self._heap[0][0] - self._clock() if self._heap else IDLE
                if left <= 0:
                    return heappop(self._heap)[2]
                if not self._changed.wait(left) and not self._heap:
                    self._serving = False
                    return None
