"""The synchronous gRPC face: a `grpc.Channel` whose every RPC is a call of the mesh."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import grpc
from grpc import StatusCode

from meshlib.adapters.grpc.bases import Channel, StreamMethod, UnaryMethod
from meshlib.adapters.grpc.calls_sync import FutureCall, StreamCall, finished
from meshlib.adapters.grpc.errors import ERRORS, Failed, cancelled, closed
from meshlib.adapters.grpc.feed_sync import SyncFeed
from meshlib.adapters.grpc.handle import Handle
from meshlib.adapters.grpc.over import Over
from meshlib.adapters.grpc.patience import Patience, check_time
from meshlib.adapters.grpc.replies import RpcReply, as_rpc
from meshlib.adapters.grpc.rpc import (
    STREAM_STREAM,
    STREAM_UNARY,
    UNARY_STREAM,
    UNARY_UNARY,
    InvalidMetadata,
    Message,
    Shape,
    told,
)
from meshlib.adapters.grpc.workers import Workers
from meshlib.errors import MeshError
from meshlib.model import GRPC, Call
from meshlib.runtime import run_sync
from meshlib.stack.service import CallService

if TYPE_CHECKING:
    from multidict import CIMultiDict

_INF = float("inf")
_workers = Workers()


class MeshChannel(Channel):
    """Calls one service; `stack` gives the stack to it, `end` closes its lines."""

    def __init__(
        self,
        service: str,
        stack: Callable[[], CallService],
        end: Callable[[], None],
        idempotent: Collection[str] = (),
    ) -> None:
        self.service, self.idempotent = service, idempotent
        self._stack, self._end = stack, end
        self._closed = False
        self._under_way: WeakSet[FutureCall | StreamCall] = WeakSet()
        self._subscribers: list[Callable[[grpc.ChannelConnectivity], None]] = []

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - generated stubs say it
    ) -> UnaryResponse:
        """A method that takes one message and answers with one."""
        return UnaryResponse(self, UNARY_UNARY, method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - the same
    ) -> StreamResponse:
        """A method that takes one message and answers with many."""
        return StreamResponse(self, UNARY_STREAM, method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - the same
    ) -> UnaryResponse:
        """A method that takes many messages and answers with one."""
        return UnaryResponse(self, STREAM_UNARY, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - the same
    ) -> StreamResponse:
        """A method that takes many messages and answers with many."""
        return StreamResponse(
            self, STREAM_STREAM, method, request_serializer, response_deserializer
        )

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,  # noqa: FBT001, FBT002 - grpcio's own signature
    ) -> None:
        """Tell `callback` that the channel is ready: it is until closed, whoever is there.

        A mesh channel has no connection of its own; which endpoints are well is balanced per RPC.
        """
        self._subscribers.append(callback)
        callback(self._state)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Tell it no more."""
        if callback in self._subscribers:
            self._subscribers.remove(callback)

    @property
    def _state(self) -> grpc.ChannelConnectivity:
        states = grpc.ChannelConnectivity
        return states.SHUTDOWN if self._closed else states.READY

    def close(self) -> None:
        """Take no more calls, and end those under way with CANCELLED, as grpcio does."""
        if self._closed:
            return
        self._closed = True
        for call in tuple(self._under_way):
            call.settle(closed())
        self._end()
        for callback in tuple(self._subscribers):
            callback(self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def reply(self, call: Call) -> RpcReply:
        """What the mesh answers.  Raises Failed."""
        patience = Patience(call, time.monotonic())
        while True:
            try:
                return self._once(call)
            except MeshError as exc:
                pause = patience.pause(exc, time.monotonic())
                if pause is None:
                    raise ERRORS.translated(patience.outcome(exc)) from exc
            time.sleep(pause)
            call = patience.again(call, time.monotonic())

    def _once(self, call: Call) -> RpcReply:
        handle: Handle | None = getattr(call.body, "handle", None)
        if self._closed:
            raise closed()
        if handle is not None and handle.cancelled:
            raise cancelled()
        check_time(call)
        try:
            return as_rpc(run_sync(self._stack()(call)))
        except (grpc.RpcError, grpc.FutureCancelledError) as exc:  # its handle was cancelled
            raise self._ended() from exc

    def _ended(self) -> Failed:
        return closed() if self._closed else cancelled()

    def check_open(self) -> None:
        """Raises ValueError, as grpcio does, once it is closed."""
        if self._closed:
            raise ValueError("Cannot invoke RPC: Channel closed!")

    def track(self, call: FutureCall | StreamCall) -> None:
        """Know of a call as long as its user does, to end it with the channel."""
        self._under_way.add(call)
        if self._closed:
            call.settle(closed())


class _Method:
    """One method of a channel."""

    def __init__(
        self,
        channel: MeshChannel,
        shape: Shape,
        path: str | bytes,
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any] | None,
    ) -> None:
        self._channel, self._shape = channel, shape
        self._path = path.decode() if isinstance(path, bytes) else path
        self._serialize = _told(serialize, "Exception serializing request!")
        self._deserialize = _told(deserialize, "Exception deserializing response!")

    def _call(
        self, request: Any, timeout: float | None, metadata: Any, handle: Any, **wishes: Any
    ) -> Call:
        """The RPC as a call; of a stream, the policy's timeout says nothing."""
        self._channel.check_open()
        shape = self._shape
        asked = {k: v for k, v in wishes.items() if v is not None and k != "wait_for_ready"}
        if shape.streams_requests:
            body: Any = SyncFeed(request, self._serialize, shape, asked, handle)
        else:
            body = Message(self._serialize(request), shape, asked, handle)
        endless = shape.streams_responses and timeout is None
        return Call(
            service=self._channel.service,
            method="POST",
            path=self._path,
            headers=_said(metadata),
            body=body,
            timeout=_INF if endless else timeout,
            protocol=GRPC,
            native=wishes,
            repeatable=self._path in self._channel.idempotent,
        )

    def _message(self, reply: RpcReply) -> Any:
        """The message of a reply that has but one.  Raises Failed."""
        if reply.code is not StatusCode.OK:
            raise Failed(reply)
        return self._deserialize(reply.content or b"")


class UnaryResponse(_Method, UnaryMethod):
    """A method that answers with one message."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,  # noqa: FBT001 - grpcio's own signature
        compression: Any = None,
    ) -> Any:
        """Call, and wait for the answer.  Raises grpc.RpcError."""
        return self._message(
            self._channel.reply(
                self._call(
                    request,
                    timeout,
                    metadata,
                    None,
                    credentials=credentials,
                    wait_for_ready=wait_for_ready,
                    compression=compression,
                )
            )
        )

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **wishes: Any
    ) -> tuple[Any, Over]:
        """The same, and what else was said."""
        reply = self._channel.reply(self._call(request, timeout, metadata, None, **wishes))
        message = self._message(reply)
        return message, finished(reply, message)

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **wishes: Any
    ) -> FutureCall:
        """The same, on another thread."""
        handle = Handle()
        call = self._call(request, timeout, metadata, handle, **wishes)
        going = FutureCall(handle, timeout)
        self._channel.track(going)

        def work() -> None:
            going.settle(self._outcome(call))

        _workers.start(work)
        return going

    def _outcome(self, call: Call) -> Over:
        try:
            reply = self._channel.reply(call)
            return finished(reply, self._message(reply))
        except Failed as exc:
            return exc
        except Exception as exc:  # noqa: BLE001 - raised where the future is asked
            return _unforeseen(exc)


class StreamResponse(_Method, StreamMethod):
    """A method that answers with many messages."""

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **wishes: Any
    ) -> StreamCall:
        """Call; the messages are there to be iterated."""
        handle = Handle()
        call = self._call(request, timeout, metadata, handle, **wishes)
        going = StreamCall(handle, timeout, self._deserialize)
        self._channel.track(going)

        def work() -> None:
            going.begin(self._begun(call))

        _workers.start(work)
        return going

    def _begun(self, call: Call) -> RpcReply | Failed:
        try:
            return self._channel.reply(call)
        except Failed as exc:
            return exc
        except Exception as exc:  # noqa: BLE001 - raised where the stream is read
            return _unforeseen(exc)


def _said(metadata: Any) -> CIMultiDict[str]:
    """A user's metadata as headers.  Raises Failed, as grpcio does."""
    try:
        return told(metadata)
    except InvalidMetadata as exc:
        raise Failed(RpcReply(StatusCode.INTERNAL, details="Invalid metadata")) from exc


def _unforeseen(error: Exception) -> Failed:
    failed = Failed(RpcReply(StatusCode.UNKNOWN, details=f"{type(error).__name__}: {error}"))
    failed.__cause__ = error
    return failed


def _told(convert: Callable[[Any], Any] | None, words: str) -> Callable[[Any], Any]:
    """`convert`, with what it raises as the INTERNAL that grpcio makes of it."""
    if convert is None:
        return _as_it_is

    def told(value: Any) -> Any:
        try:
            return convert(value)
        except Exception as exc:
            raise Failed(RpcReply(StatusCode.INTERNAL, details=words)) from exc

    return told


def _as_it_is(value: Any) -> Any:
    return value
