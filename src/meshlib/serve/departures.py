"""
The servers of one process leave together.

A program may have several, and no more than one of them can have the handler of a signal; some run
in threads, where there are no handlers.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Departing(Protocol):
    """A server that can be asked to leave, from any thread and in a handler of signals."""

    def depart(self) -> Callable[[], object]:
        """Begin to leave, or hurry; what is returned waits until it has left."""


_here: weakref.WeakSet[Departing] = weakref.WeakSet()
_waits: list[Callable[[], object]] = []
"""For those who have been asked."""


def join(server: Departing) -> None:
    """Leave with the others, for as long as there is such a server."""
    _here.add(server)


def ask(*_: object) -> None:
    """Ask all of them to leave; a handler of signals."""
    _waits[:] = [each.depart() for each in tuple(_here)]


def wait() -> None:
    """Wait until those have left who have been asked to."""
    for each in tuple(_waits):
        each()


def listen() -> None:
    """Have SIGTERM ask, unless the program has plans of its own; only the main thread can."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, ask)
