"""The asynchronous engine of gRPC; see `engine_sync`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import grpc.aio
from grpc import StatusCode

from meshlib.adapters.grpc.direct.engine import AioDirect
from meshlib.adapters.grpc.handle import AioHandle
from meshlib.adapters.grpc.line import Line
from meshlib.adapters.grpc.lines_aio import AioLines
from meshlib.adapters.grpc.outcome import Stale, failure, judged
from meshlib.adapters.grpc.replies import RpcReply, ended_badly
from meshlib.adapters.grpc.rpc import UNARY_UNARY, Shape, metadata_of
from meshlib.adapters.wire import interrupted, not_connected
from meshlib.model import Attempt, Reply
from meshlib.runtime import Clock


class AioGrpcEngine:
    """Sends attempts from one event loop."""

    def __init__(self, lines: AioLines, clock: Clock, direct: AioDirect | None = None) -> None:
        self._lines, self._clock, self._direct = lines, clock, direct

    async def __call__(self, attempt: Attempt) -> Reply:
        """Send one attempt.  Raises ConnectFailed, PeerNotTrusted, Interrupted."""
        if self._direct is not None and self._direct.takes(attempt.call.body):
            return await self._direct(attempt)
        shape: Shape = getattr(attempt.call.body, "shape", UNARY_UNARY)
        send = self._streamed if shape.streams_responses else self._whole
        while True:
            left = attempt.deadline - self._clock()
            line, new = await self._lines.enter(
                attempt, max(min(attempt.connect_timeout, left), 1e-3)
            )
            try:
                reply = await send(attempt, line, shape)
            except Stale as exc:  # it was idle, or the peer says goodbye: a new one is made
                line.retire()
                line.leave()
                if new:
                    cause = line.relay.error or exc
                    raise not_connected(attempt, cause) from exc
            except BaseException:
                line.leave()
                raise
            else:
                reply.on_close(line.leave)
                return reply

    async def close(self) -> None:
        """Close every line with its last call."""
        await self._lines.close()
        if self._direct is not None:
            await self._direct.close()

    def _begin(self, attempt: Attempt, line: Line, shape: Shape, until: float) -> Any:
        body: Any = attempt.call.body
        path = attempt.call.path if attempt.call.sent_path is None else attempt.call.sent_path
        left = until - self._clock()
        inner = line.callable(shape.name, path)(
            aiter(body) if shape.streams_requests else body.content,
            timeout=None if left == inf else max(left, 0.0),
            metadata=metadata_of(attempt),
            **getattr(body, "wishes", {}),
        )
        handle: AioHandle | None = getattr(body, "handle", None)
        if handle is not None:
            handle.begun(inner)
        return inner

    async def _whole(self, attempt: Attempt, line: Line, shape: Shape) -> RpcReply:
        """An answer of one message."""
        inner = self._begin(attempt, line, shape, attempt.deadline)
        try:
            content = await inner
        except grpc.aio.AioRpcError as exc:
            return self._judged(attempt, line, exc)
        return RpcReply(
            StatusCode.OK,
            await inner.initial_metadata() or (),
            await inner.trailing_metadata() or (),
            content=content,
        )

    async def _streamed(self, attempt: Attempt, line: Line, shape: Shape) -> RpcReply:
        """An answer of many: the call's deadline holds to the last, the attempt's to the first."""
        inner = self._begin(attempt, line, shape, attempt.call.deadline)
        alone = attempt.deadline < attempt.call.deadline
        try:
            async with asyncio.timeout(attempt.deadline - self._clock() if alone else None):
                first = await inner.read()
        except TimeoutError as exc:
            inner.cancel()
            raise interrupted(attempt, exc) from exc
        except grpc.aio.AioRpcError as exc:
            return self._judged(attempt, line, exc)
        except BaseException:
            inner.cancel()
            raise
        initial = await inner.initial_metadata() or ()
        if first is grpc.aio.EOF:
            return self._ended(attempt, line, await _end_of(inner, RpcReply(None, initial)))
        return _StreamedReply(attempt, line, inner, first, initial)

    def _judged(self, attempt: Attempt, line: Line, error: Any) -> RpcReply:
        reply = RpcReply(
            error.code(),
            error.initial_metadata() or (),
            error.trailing_metadata() or (),
            details=error.details() or "",
        )
        return self._ended(attempt, line, reply)

    def _ended(self, attempt: Attempt, line: Line, reply: RpcReply) -> RpcReply:
        return judged(attempt, line, reply, self._clock())


class _StreamedReply(RpcReply):
    """A reply whose messages are still to come."""

    __slots__ = ("_attempt", "_first", "_inner", "_line")

    def __init__(self, attempt: Attempt, line: Line, inner: Any, first: Any, initial: Any) -> None:
        super().__init__(None, initial, content=None)
        self._attempt, self._line, self._inner, self._first = attempt, line, inner, first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The messages; at the end the reply has its code.  Raises Interrupted."""
        yield self._first
        self._first = None
        try:
            while (part := await self._inner.read()) is not grpc.aio.EOF:
                yield part
        except grpc.aio.AioRpcError:
            pass  # its code is read below
        if self.closed:
            return
        await _end_of(self._inner, self)
        broken = failure(self._attempt, self._line, self)
        assert self.code is not None  # noqa: S101 - it has ended
        self.close(broken or ended_badly(self._attempt, self.code, self.details))
        if broken is not None:
            raise broken

    async def discard(self) -> None:
        """Cancel the rest."""
        if not self.closed:
            self._inner.cancel()
        self.close()


async def _end_of(inner: Any, reply: RpcReply) -> RpcReply:
    reply.code, reply.details = await inner.code(), await inner.details() or ""
    reply.trailing = await inner.trailing_metadata() or ()
    if reply.content is not None:
        return RpcReply(reply.code, reply.initial, reply.trailing, details=reply.details)
    return reply
