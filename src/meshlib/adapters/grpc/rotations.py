"""When trust is rotated, whoever holds connections that were made before is told."""

from __future__ import annotations

import ssl
from collections.abc import Callable


class Rotations:
    """Knows the newest generation of each context that connections were made with."""

    def __init__(self) -> None:
        self._newest: dict[ssl.SSLContext, int] = {}
        self.listeners: list[Callable[[ssl.SSLContext, int], None]] = []
        """Each lets go of what is older than a generation of a context."""

    def see(self, context: ssl.SSLContext, generation: int) -> None:
        """A connection is made with this one."""
        before = self._newest.get(context, generation)
        self._newest[context] = max(before, generation)
        if before < generation:
            for each in self.listeners:
                each(context, generation)
