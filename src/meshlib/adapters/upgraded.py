"""
A connection whose server answered 101: from then on it carries bytes both ways, not HTTP.

WebSockets are spoken over it by whoever asked for them.  The connection was verified like any
other, is nobody else's from now on, and ends with the reply that it came with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from meshlib.model import Reply

SWITCHING = 101


class Upgraded(Protocol):
    """The bytes of a synchronous connection.  One thread may read while another one writes."""

    def read(self, most: int, timeout: float | None = None) -> bytes:
        """The next bytes, none at the end.  Raises OSError, TimeoutError."""

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send all of it.  Raises OSError, TimeoutError."""


class AsyncUpgraded(Protocol):
    """The bytes of a connection of an event loop."""

    async def read(self, most: int) -> bytes:
        """The next bytes, none at the end."""

    async def write(self, data: bytes) -> None:
        """Send all of it.  Raises OSError."""


class UpgradedReply(Reply):
    """A 101, and the connection it came by: `upgraded`."""

    __slots__ = ("_end",)

    def __init__(self, response: Any, raw: Any, upgraded: Any, end: Callable[[], None]) -> None:
        super().__init__(response.status, response.headers, raw, content=None)
        self.upgraded = upgraded
        self._end = end

    async def discard(self) -> None:
        """End the connection."""
        if not self.closed:
            self._end()
        self.close()
