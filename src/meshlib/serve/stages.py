"""
Where a server stands on its way out.

One byte of shared memory, made before any fork, so that the arbiter of a pre-fork server can tell
its workers, and reading it costs no system call.
"""

from __future__ import annotations

import enum
import mmap


class Stage(enum.IntEnum):
    """What a server does with requests; it only ever moves forward."""

    SERVING = 0
    """In everybody's picker."""
    LAME_DUCK = 1
    """Deregistered; still serves whoever has not heard yet, as if nothing had happened."""
    CLOSING = 2
    """Every answer ends its connection, idle connections are closed, nobody new is accepted."""


class Stages:
    """The stage of one server, in all of its processes.  One process writes, all of them read."""

    __slots__ = ("_byte",)

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    @property
    def current(self) -> Stage:
        """The stage now."""
        return Stage(self._byte[0])

    @property
    def draining(self) -> bool:
        """Whether the server is leaving."""
        return self._byte[0] != Stage.SERVING

    @property
    def closing(self) -> bool:
        """Whether connections are to end with their next answer."""
        return self._byte[0] == Stage.CLOSING

    def advance(self, stage: Stage) -> None:
        """Move on to `stage`; a stage that has passed is not gone back to."""
        self._byte[0] = max(self._byte[0], stage)

    def __repr__(self) -> str:
        return f"<Stages {self.current.name}>"
