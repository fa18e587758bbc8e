"""
Reloaders: a parent that starts the program again and again, and a child that serves in a thread.

SIGTERM would have the parent kill the child, and the child's server end where it is.  Here the
parent hands it on and waits, and the child's servers leave before its main thread ends.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from typing import Any

from meshlib.auto.outgoing.wraps import Wraps
from meshlib.serve import departures


def restart(wrapped: Any, _: object, args: Any, kwargs: Any) -> Any:
    """In place of what runs in the parent, and returns an exit code."""
    parent = _Parent()
    before = signal.signal(signal.SIGTERM, parent.hear)
    parent.wraps.put(subprocess.Popen, "__init__", parent.started)
    try:
        code = wrapped(*args, **kwargs)
    finally:
        parent.wraps.remove()
        signal.signal(signal.SIGTERM, before)
    return 0 if parent.told else code  # as both reloaders end when they are told to


def watch(wrapped: Any, _: object, args: Any, kwargs: Any) -> Any:
    """In place of what the child begins in its main thread, once it has its signal handlers."""
    signal.signal(signal.SIGTERM, _Child(signal.getsignal(signal.SIGTERM)).hear)
    return wrapped(*args, **kwargs)


class _Parent:
    """One that starts children, one after another."""

    def __init__(self) -> None:
        self.told = False
        self.wraps = Wraps("subprocess", "")
        self._child: Any = None

    def started(self, wrapped: Any, process: Any, args: Any, kwargs: Any) -> None:
        """A child is there; it may be too late for it."""
        wrapped(*args, **kwargs)
        self._child = process
        if self.told:
            process.terminate()

    def hear(self, number: int, _frame: object) -> None:
        """Hand a signal on."""
        self.told = True
        if self._child is not None:
            self._child.send_signal(number)


class _Child:
    """One that serves; `theirs` ends its main thread.

    It is told twice if all its group is told, and SIGINT is there for who cannot wait.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs, self._leaving, self._left = theirs, False, False

    def hear(self, number: int, frame: object) -> None:
        """Leave, and end afterwards."""
        if self._left:
            self._theirs(number, frame)
        elif not self._leaving:
            self._leaving = True
            threading.Thread(target=self._leave, name="meshlib-leave", daemon=True).start()

    def _leave(self) -> None:
        departures.ask()
        departures.wait()
        self._left = True
        main = threading.main_thread().ident
        assert main is not None  # noqa: S101 - it has been started
        signal.pthread_kill(main, signal.SIGTERM)  # it may be asleep
