"""
The list of all services, asked for when it is needed.

A name that is followed costs a control plane something for as long as the process lives.  A program
that calls more names than anybody would give to services - one that fetches what it is told to -
has the rest of them looked up here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from meshlib.errors import MeshError
from meshlib.model import Bound, Failed, Neg, Resolution, Snapshot
from meshlib.runtime import Clock, Runtime, real_clock
from meshlib.watch import Watch

FRESH = 5.0
"""Seconds until it is asked for again: a service that comes is called plainly for no longer."""

Listed = frozenset[str] | Failed


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question."""

    at: float
    pid: int = field(default_factory=os.getpid)
    answer: Watch[Listed] = field(default_factory=lambda: Watch[Listed](frozenset()))

    def holds(self, now: float) -> bool:
        """Whether its answer is to come, or fresh; no thread survives a fork."""
        return self.pid == os.getpid() and (not self.answer.ready or now - self.at < FRESH)


class Catalogue:
    """Asks `services`, on a thread of its own; used from any thread, and in any event loop."""

    def __init__(self, services: Callable[[], Iterable[str]], clock: Clock = real_clock) -> None:
        self._services, self._clock = services, clock
        self._asked: _Asked | None = None

    def entry(self, name: str) -> Entry:
        """What is said of a name now, or will be when there is an answer."""
        return Entry(name, self._now().answer)

    def _now(self) -> _Asked:
        """The last question, or a new one; two of them at once do no harm."""
        asked, now = self._asked, self._clock()
        if asked is not None and asked.holds(now):
            return asked
        new = self._asked = _Asked(now)
        before = asked.answer.value if asked is not None else None
        thread = threading.Thread(
            target=self._ask, args=(new, before), name="meshlib-catalogue", daemon=True
        )
        thread.start()
        return new

    def _ask(self, asked: _Asked, before: Listed | None) -> None:
        """What was known is known, should nobody answer now."""
        try:
            asked.answer.set(frozenset(self._services()))
        except (MeshError, OSError) as exc:
            asked.answer.set(before or Failed(str(exc)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in it."""

    name: str
    listed: Watch[Listed]

    @property
    def resolution(self) -> Resolution | None:
        """Whether it is a service; None: nobody has answered yet."""
        if not self.listed.ready:
            return None
        listed = self.listed.value
        if isinstance(listed, Failed):
            return listed
        return Bound(Snapshot(self.name, ())) if self.name in listed else Neg()

    async def answered(self, runtime: Runtime, seconds: float) -> None:
        """Wait for that, but not for longer."""
        await runtime.wait(self.listed, seconds)
