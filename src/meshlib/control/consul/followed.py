"""`Followed`: what a source says, what is made of it, and what may stand in for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from meshlib.control.local.atfork import ForkLock, nothing
from meshlib.model import Failed, Pending
from meshlib.watch import Watch

PATIENCE = 1.0
"""Seconds Consul has for its first answer, before the snapshot speaks for it."""

T = TypeVar("T")


class Followed(Generic[T]):
    """One watch of discovery's, and the one that is made of it."""

    def __init__(self, source: Watch[T], since: float, believe: Callable[[T], T]) -> None:
        self.source, self.since, self._believe = source, since, believe
        self.told = Watch(source.value)
        self._one_at_a_time = ForkLock(2)

    def update(self) -> None:
        """Tell what is believed now."""
        with self._one_at_a_time:
            self.told.set(self._believe(self.source.value))

    def late(self, now: float) -> bool:
        """Whether the source has had its time and has said nothing."""
        told = _says_something(self.told)
        return now - self.since >= PATIENCE and not told and not _says_something(self.source)

    def recall(self, value: T, first: Callable[[], None] = nothing) -> bool:
        """Tell what was kept, after `first`; False if the source was quicker."""
        with self._one_at_a_time:
            if _says_something(self.source):
                return False
            first()
            return self.told.set(value)


def _says_something(watch: Watch[Any]) -> bool:
    """Whether there was an answer, and not just the news that there is none."""
    return watch.ready and not isinstance(watch.value, Pending | Failed)
