"""
Connections that have not proven anything yet.

Whoever can reach the port can open connections and say nothing.  There is room for a fixed number
of them; when it is taken, the one that has said nothing for the longest makes way.  A peer in
earnest is a newcomer for milliseconds, so it is never the one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Generic, TypeVar

C = TypeVar("C")

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What `accept` fails with when the process or the machine has no room for a connection."""


class Newcomers(Generic[C]):
    """At most `most` connections in order of arrival; `evict` closes one.  For one thread."""

    __slots__ = ("_arrived", "_evict", "_most")

    def __init__(self, most: int, evict: Callable[[C], None]) -> None:
        self._most, self._evict = most, evict
        self._arrived: dict[C, None] = {}

    def __len__(self) -> int:
        return len(self._arrived)

    def admit(self, connection: C) -> None:
        """A connection was accepted; if there are too many, the oldest is evicted."""
        if len(self._arrived) >= self._most:
            self.evict_one()
        self._arrived[connection] = None

    def leave(self, connection: C) -> None:
        """The connection has proven itself, or is gone."""
        self._arrived.pop(connection, None)

    def evict_one(self) -> bool:
        """Evict the oldest; whether there was one."""
        oldest = next(iter(self._arrived), None)
        if oldest is None:
            return False
        del self._arrived[oldest]
        self._evict(oldest)
        return True
