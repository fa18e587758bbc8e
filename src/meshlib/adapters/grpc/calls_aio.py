"""What calls of a `grpc.aio.Channel` return: each is driven by a task of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

import grpc.aio
from grpc import StatusCode

from meshlib.adapters.grpc.bases import AioCall, AioStreamCall, AioUnaryCall
from meshlib.adapters.grpc.errors import AIO_ERRORS
from meshlib.adapters.grpc.feed_aio import Mailbox
from meshlib.adapters.grpc.handle import AioHandle
from meshlib.adapters.grpc.replies import RpcReply, as_rpc
from meshlib.adapters.grpc.rpc import shown
from meshlib.errors import MeshError
from meshlib.model import Reply
from meshlib.runtime import run_sync

_CANCELLED = "Locally cancelled by application!"


class _AioCall(AioCall):
    """One RPC of the running loop; `_task` gives its reply, when that begins."""

    def __init__(
        self,
        handle: AioHandle,
        answered: Callable[[], Coroutine[Any, Any, Reply]],
        timeout: float | None,
        deserialize: Callable[[bytes], Any],
        mailbox: Mailbox | None,
    ) -> None:
        self._handle, self._deserialize, self._mailbox = handle, deserialize, mailbox
        self._until = None if timeout is None else time.monotonic() + timeout
        self._callbacks: list[Callable[[Any], None]] = []
        self._end: RpcReply | grpc.aio.AioRpcError | None = None
        self._ended = asyncio.Event()
        self._task = asyncio.ensure_future(self._reply(answered))

    async def _reply(self, answered: Callable[[], Coroutine[Any, Any, Reply]]) -> RpcReply:
        """The reply.  Raises AioRpcError for what the mesh, not a server, ended."""
        try:
            reply = as_rpc(await answered())
        except MeshError as exc:
            error: Any = AIO_ERRORS.translated(exc)
            self._finish(error)
            raise error from exc
        except grpc.aio.AioRpcError as exc:
            self._finish(exc)
            raise
        except asyncio.CancelledError:
            self._finish(failed(RpcReply(StatusCode.CANCELLED, details=_CANCELLED)))
            raise
        if reply.content is not None:
            self._finish(reply if reply.code is StatusCode.OK else failed(reply))
        self._handle.over()
        return reply

    def _finish(self, end: RpcReply | grpc.aio.AioRpcError) -> None:
        if self._end is None:
            self._end = end
            self._ended.set()
            self._handle.over()
            for callback in self._callbacks:
                callback(self)

    def cancelled(self) -> bool:
        """Whether it ended so."""
        return self._end is not None and _code(self._end) is StatusCode.CANCELLED

    def done(self) -> bool:
        """Whether it is over."""
        return self._end is not None

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None without one."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def cancel(self) -> bool:
        """Want it no more; whether that was in time."""
        if self._end is not None:
            return False
        self._finish(failed(RpcReply(StatusCode.CANCELLED, details=_CANCELLED)))
        if not self._task.done():
            self._task.cancel()
        elif not self._task.cancelled() and self._task.exception() is None:
            run_sync(self._task.result().discard())  # it never waits
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called with this call at the end, or now."""
        if self._end is not None:
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """What the server said before; waits for that."""
        inner = await self._handle.on_the_wire()
        if inner is None or self._task.done():
            return _metadata(_initial(self._end or self._task.result()))
        return _metadata(await inner.initial_metadata())

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What the server said at the end; waits for that."""
        end = await self._over()
        return _metadata(end.trailing if isinstance(end, RpcReply) else end.trailing_metadata())

    async def code(self) -> StatusCode:
        """How it ended; waits for that."""
        return _code(await self._over())

    async def details(self) -> str:
        """What was said about it; waits for that."""
        end = await self._over()
        said = end.details if isinstance(end, RpcReply) else end.details()
        return str(said or "")

    async def debug_error_string(self) -> str:
        """Code and details, for logs."""
        return f"{(await self.code()).name}:{await self.details()}"

    async def wait_for_connection(self) -> None:
        """Wait until it is on the wire.  Raises AioRpcError if it never is."""
        if await self._handle.on_the_wire() is None:
            await self._task

    async def _over(self) -> RpcReply | grpc.aio.AioRpcError:
        await self._ended.wait()
        assert self._end is not None  # noqa: S101 - set before
        return self._end

    # ---- requests

    async def write(self, request: Any) -> None:
        """Send one message more.  Raises UsageError, AioRpcError."""
        if self._mailbox is None:
            raise grpc.aio.UsageError("the requests of this RPC come from an iterator")
        if self._end is not None:
            raise asyncio.InvalidStateError("RPC already finished.")
        writing = asyncio.ensure_future(self._mailbox.put(request))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({writing, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            if not writing.done():
                writing.cancel()
        if not writing.done() and isinstance(self._end, grpc.aio.AioRpcError):
            raise self._end
        if writing.done() and not writing.cancelled():
            writing.result()

    async def done_writing(self) -> None:
        """Send no more."""
        if self._mailbox is None:
            raise grpc.aio.UsageError("the requests of this RPC come from an iterator")
        if self._end is None:
            await self._mailbox.end()


class UnaryCall(_AioCall, AioUnaryCall):
    """Awaited, it is the message."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._message().__await__()

    async def _message(self) -> Any:
        try:
            reply = await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if isinstance(self._end, grpc.aio.AioRpcError):
            raise self._end
        return self._deserialize(reply.content or b"")


class StreamCall(_AioCall, AioStreamCall):
    """Iterated or read, it is the messages."""

    _parts: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`.  Raises AioRpcError."""
        if self._end is None or not isinstance(self._end, grpc.aio.AioRpcError):
            try:
                reply: Any = await asyncio.shield(self._task)
                part = await self._next(reply)
            except asyncio.CancelledError:
                self.cancel()
                raise
            if part is not None:
                return self._deserialize(part)
        if isinstance(self._end, grpc.aio.AioRpcError):
            if _code(self._end) is StatusCode.CANCELLED and self._end.details() == _CANCELLED:
                raise asyncio.CancelledError
            raise self._end
        return grpc.aio.EOF

    async def _next(self, reply: Any) -> bytes | None:
        if self._parts is None:
            self._parts = _all_of(reply) if reply.content is not None else aiter(reply)
        try:
            part = await anext(self._parts, None)
        except MeshError as exc:
            error: Any = AIO_ERRORS.translated(exc)
            self._finish(error)
            raise error from exc
        if part is None and self._end is None:
            self._finish(reply if reply.code is StatusCode.OK else failed(reply))
        return part


async def _all_of(reply: RpcReply) -> AsyncIterator[bytes]:
    if reply.content:
        yield reply.content


def failed(reply: RpcReply) -> grpc.aio.AioRpcError:
    """The error of a call with this reply."""
    return grpc.aio.AioRpcError(
        reply.code or StatusCode.UNKNOWN,
        _metadata(reply.initial),
        _metadata(reply.trailing),
        reply.details,
    )


def _code(end: RpcReply | grpc.aio.AioRpcError) -> StatusCode:
    code = end.code if isinstance(end, RpcReply) else end.code()
    return code or StatusCode.UNKNOWN


def _initial(end: Any) -> Any:
    return end.initial if isinstance(end, RpcReply) else end.initial_metadata()


def _metadata(pairs: Any) -> grpc.aio.Metadata:
    if isinstance(pairs, grpc.aio.Metadata):
        pairs = tuple(pairs)
    return grpc.aio.Metadata(*shown(pairs or ()))
