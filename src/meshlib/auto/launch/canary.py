"""
A process that tells whether a signal was sent to the launcher alone, or to everybody beside it.

`kill -- -PGID` and a service manager that signals all of a control group (systemd does) reach the
program as well, and a signal says nothing about that.  So a third process of the same group hears
what everybody hears, and tells: what it has not heard was meant for the launcher.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import NoReturn

LATE = 0.1
"""Seconds that one process may be sent a signal later than another: who signals several processes
does nothing else in between."""
SILENT = 2.0
"""Seconds after which a canary that says nothing is not waited for: somebody has stopped it."""
_ALL = 0
"""What it says after all signals it was sent before it was asked."""


class Canary:
    """Hears `signals` from when it is made until it is closed; the maker must have one thread.

    It ends with the launcher, also with one that is killed.
    """

    def __init__(self, signals: Sequence[int]) -> None:
        told, tells = os.pipe()
        lifeline, self._lifeline = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(told)
            os.close(self._lifeline)
            _listen(signals, tells, lifeline)
        os.close(tells)
        os.close(lifeline)
        self._told = told
        self._heard: list[int] = []

    def has_heard(self, number: int) -> bool:
        """Whether it was sent that signal as well, which takes a moment to know if it was not."""
        if not self._hears(number, LATE):
            with contextlib.suppress(OSError):  # it has been killed
                os.write(self._lifeline, b"?")
            self._hears(_ALL, SILENT)
            self._heard = [each for each in self._heard if each != _ALL]
        found = number in self._heard
        if found:
            self._heard.remove(number)
        return found

    def _hears(self, number: int, seconds: float) -> bool:
        """Whether it has said that by then."""
        until = time.monotonic() + seconds
        while number not in self._heard:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._told], [], [], left)[0]:
                return False
            said = os.read(self._told, 100)
            if not said:
                return False  # as above
            self._heard += said
        return True

    def close(self) -> None:
        """End it."""
        os.close(self._lifeline)
        os.close(self._told)
        os.kill(self._pid, signal.SIGKILL)  # not reaped yet, so it is nobody else
        os.waitpid(self._pid, 0)


def _listen(signals: Sequence[int], tells: int, lifeline: int) -> NoReturn:
    """In the new process, until there is no launcher any more."""
    os.set_blocking(tells, False)
    for each in signals:
        signal.signal(each, lambda *_: None)
    signal.set_wakeup_fd(tells)  # each is written there, as one byte
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    while os.read(lifeline, 1):
        os.write(tells, bytes([_ALL]))
    os._exit(0)
