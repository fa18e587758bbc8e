"""
The synchronous engine of gRPC: blocks the calling thread, as the stack over it does.

A streamed answer is a reply when its first message is there, or its end: until then the call may be
tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from math import inf
from typing import Any

import grpc
from grpc import StatusCode

from meshlib.adapters.grpc.direct.engine import SyncDirect
from meshlib.adapters.grpc.handle import Handle
from meshlib.adapters.grpc.line import Line
from meshlib.adapters.grpc.lines_sync import SyncLines
from meshlib.adapters.grpc.outcome import Stale, failure, judged
from meshlib.adapters.grpc.racing import handles, race
from meshlib.adapters.grpc.replies import RpcReply, ended_badly
from meshlib.adapters.grpc.rpc import UNARY_UNARY, Shape, metadata_of
from meshlib.adapters.wire import not_connected
from meshlib.model import Attempt, Reply
from meshlib.runtime import Clock

_END = object()


class SyncGrpcEngine:
    """Sends attempts from any thread."""

    def __init__(self, lines: SyncLines, clock: Clock, direct: SyncDirect | None = None) -> None:
        self._lines, self._clock, self._direct = lines, clock, direct

    async def __call__(self, attempt: Attempt) -> Reply:
        """Send one attempt.  Raises ConnectFailed, PeerNotTrusted, Interrupted."""
        if self._direct is not None and self._direct.takes(attempt.call.body):
            return self._direct(attempt)
        shape: Shape = getattr(attempt.call.body, "shape", UNARY_UNARY)
        send = self._streamed if shape.streams_responses else self._whole
        while True:
            left = attempt.deadline - self._clock()
            line, new = self._lines.enter(attempt, max(min(attempt.connect_timeout, left), 1e-3))
            try:
                reply = send(attempt, line, shape)
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

    race = staticmethod(race)
    """How its runtime runs two attempts side by side."""

    def close(self) -> None:
        """End every line, and the calls on it."""
        self._lines.close()
        if self._direct is not None:
            self._direct.close()

    def _begin(self, attempt: Attempt, line: Line, shape: Shape, how: str, until: float) -> Any:
        body: Any = attempt.call.body
        path = attempt.call.path if attempt.call.sent_path is None else attempt.call.sent_path
        left = until - self._clock()
        return getattr(line.callable(shape.name, path), how)(
            iter(body) if shape.streams_requests else body.content,
            timeout=None if left == inf else max(left, 0.0),
            metadata=metadata_of(attempt),
            **getattr(body, "wishes", {}),
        )

    def _whole(self, attempt: Attempt, line: Line, shape: Shape) -> RpcReply:
        """An answer of one message."""
        watching = handles(attempt.call.body)
        try:
            if not watching:
                content, inner = self._begin(attempt, line, shape, "with_call", attempt.deadline)
            else:
                inner = self._begin(attempt, line, shape, "future", attempt.deadline)
                for handle in watching:
                    handle.begun(inner)
                content = inner.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as exc:
            if any(handle.cancelled for handle in watching):
                raise
            return self._judged(attempt, line, exc if isinstance(exc, grpc.RpcError) else inner)
        trailing = inner.trailing_metadata() or ()
        return RpcReply(StatusCode.OK, inner.initial_metadata() or (), trailing, content=content)

    def _streamed(self, attempt: Attempt, line: Line, shape: Shape) -> RpcReply:
        """An answer of many: the call's deadline holds to the last, the attempt's to the first."""
        inner = self._begin(attempt, line, shape, "__call__", attempt.call.deadline)
        handle: Handle | None = getattr(attempt.call.body, "handle", None)
        if handle is not None:
            handle.begun(inner)
        with _cut(inner, attempt, self._clock):
            try:
                first = next(inner, _END)
            except grpc.RpcError as exc:
                if handle is not None and handle.cancelled:
                    raise
                return self._judged(attempt, line, exc)
        if first is _END:
            trailing = inner.trailing_metadata() or ()
            return RpcReply(StatusCode.OK, inner.initial_metadata() or (), trailing)
        return _StreamedReply(attempt, line, inner, first)

    def _judged(self, attempt: Attempt, line: Line, error: Any) -> RpcReply:
        return judged(
            attempt,
            line,
            RpcReply(
                error.code(),
                error.initial_metadata() or (),
                error.trailing_metadata() or (),
                details=error.details() or "",
            ),
            self._clock(),
        )


class _StreamedReply(RpcReply):
    """A reply whose messages are still to come."""

    __slots__ = ("_attempt", "_first", "_inner", "_line")

    def __init__(self, attempt: Attempt, line: Line, inner: Any, first: Any) -> None:
        super().__init__(None, inner.initial_metadata() or (), content=None)
        self._attempt, self._line, self._inner, self._first = attempt, line, inner, first

    def __iter__(self) -> Iterator[bytes]:
        """The messages; at the end the reply has its code.  Raises Interrupted."""
        yield self._first
        self._first = None
        try:
            yield from self._inner
        except grpc.RpcError as exc:
            self._end(exc)
            return
        self._end(self._inner)

    def _end(self, inner: Any) -> None:
        if self.closed:
            return
        self.code, self.details = inner.code(), inner.details() or ""
        self.trailing = inner.trailing_metadata() or ()
        broken = failure(self._attempt, self._line, self)
        self.close(broken or ended_badly(self._attempt, self.code, self.details))
        if broken is not None:
            raise broken

    async def discard(self) -> None:
        """Cancel the rest."""
        if not self.closed:
            self._inner.cancel()
        self.close()


class _cut:  # noqa: N801 - reads as the function it stands for
    """Cancels a call that has said nothing when its attempt's time is up, before its call's is."""

    def __init__(self, inner: Any, attempt: Attempt, clock: Clock) -> None:
        self._timer: threading.Timer | None = None
        if attempt.deadline < attempt.call.deadline:
            self._timer = threading.Timer(max(attempt.deadline - clock(), 0), inner.cancel)
            self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
