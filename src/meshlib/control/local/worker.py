"""
`Worker`: a daemon thread that repeats one step.

It is started by the first who needs it, and again in a forked child.  A step that fails is logged
once and tried again with growing, jittered pauses (tenacity) until it works.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from tenacity import (
    RetryCallState,
    Retrying,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from meshlib.control.local.atfork import ForkLock
from meshlib.errors import ControlError

log = logging.getLogger("meshlib.control")

FIRST_PAUSE = 0.1
"""Seconds; the first pause after a failure is drawn below this, each later bound is doubled."""
LONGEST_PAUSE = 2.0
"""Seconds: a store that is back is noticed within two."""

Step = Callable[[], float]
"""Does the work once; returns the seconds until it wants to be called again."""


class Worker:
    """Repeats `step` on a thread called `name` from `start` until `stop`.

    With `inherit` a forked child goes on with it; otherwise the child has to `start` it.
    """

    def __init__(self, name: str, step: Step, *, inherit: bool) -> None:
        self._name, self._step, self._inherit = name, step, inherit
        self._turn = ForkLock(0, child=self._in_child)
        self._starting = ForkLock(1)
        self._thread: threading.Thread | None = None
        self._stopping, self._wake = threading.Event(), SimpleQueue[None]()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._starting:
            if self._thread is None:
                self._stopping, self._wake = threading.Event(), SimpleQueue()
                self._thread = threading.Thread(
                    target=self._run,
                    args=(self._stopping, self._wake),
                    name=self._name,
                    daemon=True,
                )
                self._thread.start()

    def wake(self) -> None:
        """Have the next step done now."""
        self._wake.put(None)

    def stop(self) -> None:
        """End the thread, and wait for that unless called by the step itself."""
        with self._starting:
            thread, self._thread = self._thread, None
            self._stopping.set()
            self._wake.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, stopping: threading.Event, wake: SimpleQueue[None]) -> None:
        while not stopping.is_set():
            pause = self._once(stopping)
            with suppress(Empty):  # a queue written in C: an Event's wait costs twice as much
                wake.get(timeout=pause)

    def _once(self, stopping: threading.Event) -> float:
        try:
            return self._take_turn()
        except Exception as exc:  # noqa: BLE001 - a thread that dies would freeze what all see
            self._say_lost(exc)
        pause = self._until_it_works(stopping)
        if not stopping.is_set():
            log.info("%s works again", self._name)
        return pause

    def _take_turn(self) -> float:
        with self._turn:
            return self._step()

    def _until_it_works(self, stopping: threading.Event) -> float:
        retrying = Retrying(
            wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            stop=stop_when_event_set(stopping),
            sleep=sleep_using_event(stopping),
            retry_error_callback=_give_up,
        )
        return retrying(self._take_turn)

    def _say_lost(self, exc: Exception) -> None:
        unforeseen = None if isinstance(exc, ControlError) else exc
        log.warning("%s failed, trying on: %s", self._name, exc, exc_info=unforeseen)

    def _in_child(self) -> None:
        was_running, self._thread = self._thread is not None, None
        if was_running and self._inherit:
            self.start()


def _give_up(_: RetryCallState) -> float:
    return 0.0
