"""One of something for every event loop, ended when its loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from meshlib.runtime import run_sync

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes a `T` for each event loop it is used in.

    Connections belong to a loop, clients do not: a program may use one client in several
    `asyncio.run`.  An asynchronous generator stands for each `T`; `asyncio.run`, uvicorn and
    pytest-asyncio finish all such generators (`loop.shutdown_asyncgens`) before they close a loop,
    and that is when `end` is awaited.
    """

    def __init__(self, make: Callable[[], T], end: Callable[[T], Awaitable[None]]) -> None:
        self._make, self._end = make, end
        self._alive: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]
        ] = WeakKeyDictionary()

    def current(self) -> T:
        """The one of the running loop.  Raises RuntimeError without a running loop."""
        loop = asyncio.get_running_loop()
        found = self._alive.get(loop)
        if found is not None:
            return found[0]
        made = self._make()
        until_the_end = self._keep(loop, made)
        self._alive[loop] = made, until_the_end
        run_sync(anext(until_the_end))
        return made

    async def _keep(self, loop: asyncio.AbstractEventLoop, made: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._alive.pop(loop, None)
            await self._end(made)
