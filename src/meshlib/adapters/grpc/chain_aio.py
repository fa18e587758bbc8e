"""A call of a `grpc.aio.Channel` that interceptors of the user's stand before."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any

import grpc
import grpc.aio

from meshlib.adapters.grpc.bases import AioStreamCall, AioUnaryCall
from meshlib.adapters.grpc.feed_aio import Mailbox


class Chained(AioUnaryCall, AioStreamCall):
    """What the outermost interceptor returns, to be asked before it has: a call, or a result."""

    def __init__(
        self,
        hooks: Sequence[Callable[..., Awaitable[Any]]],
        last: Callable[[Any, Any], Any],
        details: Any,
        request: Any,
        mailbox: Mailbox | None,
    ) -> None:
        self._hooks, self._last, self._mailbox = hooks, last, mailbox
        self._callbacks: list[Callable[[Any], None]] = []
        self._parts: AsyncIterator[Any] | None = None
        self._task = asyncio.ensure_future(self._at(0, details, request))
        self._task.add_done_callback(self._came)

    async def _at(self, index: int, details: Any, request: Any) -> Any:
        if index == len(self._hooks):
            return self._last(details, request)

        async def proceed(told: Any, handed: Any) -> Any:
            return await self._at(index + 1, told, handed)

        return await self._hooks[index](proceed, details, request)

    def _came(self, task: asyncio.Task[Any]) -> None:
        inner = None if task.cancelled() or task.exception() else task.result()
        if isinstance(inner, grpc.aio.Call):
            inner.add_done_callback(lambda _: self._tell())
        else:
            self._tell()

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback(self)

    @property
    def _inner(self) -> Any:
        """The call beneath, once there is one."""
        done = self._task.done() and not self._task.cancelled() and not self._task.exception()
        inner = self._task.result() if done else None
        return inner if isinstance(inner, grpc.aio.Call) else None

    def __await__(self) -> Generator[Any, None, Any]:
        return self._message().__await__()

    async def _message(self) -> Any:
        inner: Any = await self._task
        return await inner if inspect.isawaitable(inner) else inner

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`."""
        inner = await self._task
        if hasattr(inner, "read"):
            return await inner.read()
        if self._parts is None:
            self._parts = aiter(inner)
        return await anext(self._parts, grpc.aio.EOF)

    async def write(self, request: Any) -> None:
        """Send one message more."""
        if self._mailbox is None:
            raise grpc.aio.UsageError("the requests of this RPC come from an iterator")
        await self._mailbox.put(request)

    async def done_writing(self) -> None:
        """Send no more."""
        if self._mailbox is None:
            raise grpc.aio.UsageError("the requests of this RPC come from an iterator")
        await self._mailbox.end()

    def cancelled(self) -> bool:
        """Whether it was."""
        return self._task.cancelled() or bool(self._inner and self._inner.cancelled())

    def done(self) -> bool:
        """Whether it is over."""
        return self._task.done() and (self._inner is None or bool(self._inner.done()))

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None without one, or before it is known."""
        return self._inner.time_remaining() if self._inner is not None else None

    def cancel(self) -> bool:
        """Want it no more; whether that was in time."""
        return bool(self._inner.cancel()) if self._inner is not None else self._task.cancel()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called with this call at the end, or now."""
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> Any:
        """What the server said before."""
        return await (await self._task).initial_metadata()

    async def trailing_metadata(self) -> Any:
        """What the server said at the end."""
        return await (await self._task).trailing_metadata()

    async def code(self) -> Any:
        """How it ended; a result of an interceptor's own is well."""
        inner = await self._task
        return await inner.code() if isinstance(inner, grpc.aio.Call) else grpc.StatusCode.OK

    async def details(self) -> Any:
        """What was said about it."""
        inner = await self._task
        return await inner.details() if isinstance(inner, grpc.aio.Call) else ""

    async def wait_for_connection(self) -> None:
        """Wait until it is on the wire."""
        inner = await self._task
        if isinstance(inner, grpc.aio.Call):
            await inner.wait_for_connection()
