"""How a caller cancels what the stack is doing for it, wherever that is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class Handle:
    """Of one call: whichever attempts are on the wire, and whether it is wanted no more."""

    __slots__ = ("_all", "_changed", "_over", "cancelled", "inner")

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._over = False
        self.cancelled = False
        self.inner: Any = None
        """The last one that began."""
        self._all: list[Any] = []

    def begun(self, inner: Any) -> None:
        """An attempt is on the wire."""
        with self._changed:
            self.inner = inner
            self._all.append(inner)
            self._changed.notify_all()
        if self.cancelled:
            inner.cancel()

    def over(self) -> None:
        """There will be no more attempts."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Have what is on the wire cancelled, and whatever follows."""
        self.cancelled = True
        with self._changed:
            begun = tuple(self._all)
        for inner in begun:
            inner.cancel()

    def on_the_wire(self) -> Any:
        """Wait for the first attempt; None: there was none."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.inner is not None)
            return self.inner


class AioHandle:
    """The same of one event loop."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def begun(self, inner: Any) -> None:
        """An attempt is on the wire."""
        if self._begun.done():
            self._begun = asyncio.get_running_loop().create_future()
        self._begun.set_result(inner)

    def over(self) -> None:
        """There will be no more attempts."""
        if not self._begun.done():
            self._begun.set_result(None)

    async def on_the_wire(self) -> Any:
        """Wait for the first attempt; None: there was none."""
        return await asyncio.shield(self._begun)
