"""
RPCs of an event loop whose channel is not known yet.

`grpc.aio` returns a call at once, so there must be one before anybody can say where it leads.  What
is asked of it waits for the call that it becomes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, NoReturn

from meshlib.adapters.grpc import calls_aio
from meshlib.adapters.grpc.bases import AioCall, AioStreamCall, AioUnaryCall
from meshlib.adapters.grpc.handle import AioHandle
from meshlib.errors import MeshError

Begin = Callable[[], Coroutine[Any, Any, Any]]
"""Gives the call, when it is known what makes it.  Raises our errors."""


class _PendingCall(AioCall):
    """One RPC of the running loop."""

    _ended: type[Any]
    """What a call is that ended before it began."""

    def __init__(self, begin: Begin, timeout: float | None) -> None:
        self._until = None if timeout is None else time.monotonic() + timeout
        self._callbacks: list[Callable[[Any], None]] = []
        self._unwanted = False
        self._beginning = asyncio.ensure_future(begin())
        self._begun = asyncio.ensure_future(self._begin())
        self._begun.add_done_callback(self._pass_on)

    async def _begin(self) -> Any:
        try:
            return await self._beginning
        except (MeshError, asyncio.CancelledError) as exc:
            error = exc

        async def fail() -> NoReturn:
            raise error

        call = self._ended(AioHandle(), fail, None, bytes, None)
        if self._unwanted:
            call.cancel()
        return call

    def _pass_on(self, begun: asyncio.Future[Any]) -> None:
        for each in self._callbacks if not begun.cancelled() else ():
            self._tell(begun.result(), each)

    def _tell(self, call: Any, callback: Callable[[Any], None]) -> None:
        call.add_done_callback(lambda _: callback(self))

    async def _wanted(self) -> Any:
        """The call, for who wants its answer: nobody does if that one is cancelled."""
        try:
            return await asyncio.shield(self._begun)
        except asyncio.CancelledError:
            self.cancel()
            raise

    # ---- what is known at once

    def cancelled(self) -> bool:
        """Whether it ended so."""
        return self._unwanted or (self._begun.done() and bool(self._begun.result().cancelled()))

    def done(self) -> bool:
        """Whether it is over."""
        return self._unwanted or (self._begun.done() and bool(self._begun.result().done()))

    def cancel(self) -> bool:
        """Want it no more; whether that was in time."""
        if self._begun.done():
            return bool(self._begun.result().cancel())
        in_time, self._unwanted = not self._unwanted, True
        self._beginning.cancel()
        return in_time

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None without one."""
        if self._begun.done():
            remaining: float | None = self._begun.result().time_remaining()
            return remaining
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called with this call at the end, or now."""
        if self._begun.done():
            self._tell(self._begun.result(), callback)
        else:
            self._callbacks.append(callback)

    # ---- what is waited for

    async def initial_metadata(self) -> Any:
        """What the server said before."""
        return await (await asyncio.shield(self._begun)).initial_metadata()

    async def trailing_metadata(self) -> Any:
        """What the server said at the end."""
        return await (await asyncio.shield(self._begun)).trailing_metadata()

    async def code(self) -> Any:
        """How it ended."""
        return await (await asyncio.shield(self._begun)).code()

    async def details(self) -> Any:
        """What was said about it."""
        return await (await asyncio.shield(self._begun)).details()

    async def debug_error_string(self) -> Any:
        """Code and details, for logs."""
        return await (await asyncio.shield(self._begun)).debug_error_string()

    async def wait_for_connection(self) -> None:
        """Wait until it is on the wire.  Raises AioRpcError if it never is."""
        await (await asyncio.shield(self._begun)).wait_for_connection()

    async def write(self, request: Any) -> None:
        """Send one message more."""
        await (await asyncio.shield(self._begun)).write(request)

    async def done_writing(self) -> None:
        """Send no more."""
        await (await asyncio.shield(self._begun)).done_writing()


class PendingUnaryCall(_PendingCall, AioUnaryCall):
    """Awaited, it is the message."""

    _ended = calls_aio.UnaryCall

    def __await__(self) -> Generator[Any, None, Any]:
        return self._message().__await__()

    async def _message(self) -> Any:
        return await (await self._wanted())


class PendingStreamCall(_PendingCall, AioStreamCall):
    """Iterated or read, it is the messages."""

    _ended = calls_aio.StreamCall

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Any]:
        async for message in await self._wanted():
            yield message

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`."""
        return await (await self._wanted()).read()
