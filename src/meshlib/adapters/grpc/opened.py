"""The channels that a mesh has opened, as long as somebody has them."""

from __future__ import annotations

import threading
from typing import Protocol
from weakref import WeakSet


class Closable(Protocol):
    """What a synchronous channel is here."""

    def close(self) -> None:
        """Take no more calls, and end those under way."""


class Opened:
    """Channels that end with their mesh; any thread may add one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: WeakSet[Closable] = WeakSet()
        self._closed = False

    def add(self, channel: Closable) -> None:
        """Know of one more; it is closed at once if the mesh is."""
        with self._lock:
            self._channels.add(channel)
            late = self._closed
        if late:
            channel.close()

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            self._closed = True
            channels = tuple(self._channels)
        for channel in channels:
            channel.close()
