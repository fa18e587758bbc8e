"""The asynchronous gRPC face: a `grpc.aio.Channel` whose every RPC is a call of the mesh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from meshlib.adapters.grpc.bases import AioChannel, AioMethod
from meshlib.adapters.grpc.calls_aio import StreamCall, UnaryCall, failed
from meshlib.adapters.grpc.chain_aio import Chained
from meshlib.adapters.grpc.feed_aio import AioFeed, Mailbox
from meshlib.adapters.grpc.handle import AioHandle
from meshlib.adapters.grpc.patience import Patience, check_time
from meshlib.adapters.grpc.replies import RpcReply
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
from meshlib.errors import MeshError
from meshlib.model import GRPC, Call, Reply
from meshlib.stack.service import CallService

if TYPE_CHECKING:
    from multidict import CIMultiDict

_INF = float("inf")


class MeshAioChannel(AioChannel):
    """Calls one service; `stack` gives the running loop's stack to it, `end` closes its lines."""

    def __init__(
        self,
        service: str,
        stack: Callable[[], CallService],
        end: Callable[[], Coroutine[Any, Any, None]],
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        idempotent: Collection[str] = (),
    ) -> None:
        self.service, self.idempotent = service, idempotent
        self.interceptors = tuple(interceptors)
        self._stack, self._end = stack, end
        self._closed = False
        self._under_way: set[Any] = set()

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - generated stubs say it
    ) -> MeshAioMethod:
        """A method that takes one message and answers with one."""
        return MeshAioMethod(self, UNARY_UNARY, method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - the same
    ) -> MeshAioMethod:
        """A method that takes one message and answers with many."""
        return MeshAioMethod(self, UNARY_STREAM, method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - the same
    ) -> MeshAioMethod:
        """A method that takes many messages and answers with one."""
        return MeshAioMethod(self, STREAM_UNARY, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002 - the same
    ) -> MeshAioMethod:
        """A method that takes many messages and answers with many."""
        return MeshAioMethod(self, STREAM_STREAM, method, request_serializer, response_deserializer)

    def get_state(
        self,
        try_to_connect: bool = False,  # noqa: FBT001, FBT002 - grpcio's own signature
    ) -> grpc.ChannelConnectivity:
        """Ready until closed: which endpoints are well is balanced per RPC."""
        states = grpc.ChannelConnectivity
        return states.SHUTDOWN if self._closed else states.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        while self.get_state() is last_observed_state:
            await asyncio.get_running_loop().create_future()

    async def channel_ready(self) -> None:
        """It is."""

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, and cancel those that have not ended after `grace` seconds."""
        self._closed = True
        calls = tuple(self._under_way)
        if grace and calls:
            await asyncio.wait(
                [asyncio.ensure_future(call.code()) for call in calls], timeout=grace
            )
        for call in calls:
            call.cancel()
        await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def check_open(self) -> None:
        """Raises UsageError, as grpcio does, once it is closed."""
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")

    async def answered(self, call: Call) -> Reply:
        """What the mesh answers."""
        patience, clock = Patience(call, time.monotonic()), time.monotonic
        while True:
            try:
                check_time(call)
                return await self._stack()(call)
            except MeshError as exc:
                pause = patience.pause(exc, clock())
                if pause is None:
                    raise patience.outcome(exc) from exc.__cause__
            await asyncio.sleep(pause)
            call = patience.again(call, clock())

    def track(self, call: Any) -> None:
        """Know of a call until it has ended."""
        self._under_way.add(call)
        call.add_done_callback(self._under_way.discard)


class MeshAioMethod(AioMethod):
    """One method of a channel, of any shape."""

    def __init__(
        self,
        channel: MeshAioChannel,
        shape: Shape,
        path: str | bytes,
        serialize: Callable[[Any], bytes] | None,
        deserialize: Callable[[bytes], Any] | None,
    ) -> None:
        self._channel, self._shape = channel, shape
        self._path = path.decode() if isinstance(path, bytes) else path
        self._serialize = _told(serialize, "Exception serializing request!")
        self._deserialize = _told(deserialize, "Exception deserializing response!")
        wanted = f"intercept_{shape.name}"
        self._interceptors = [each for each in channel.interceptors if hasattr(each, wanted)]

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
        **iterator: Any,
    ) -> Any:
        """Call; what is returned is the call."""
        requests = iterator.get("request_iterator", request)
        path: Any = self._path.encode()  # as grpcio has it, though its types say otherwise
        details = grpc.aio.ClientCallDetails(path, timeout, metadata, credentials, wait_for_ready)
        if not self._interceptors:
            return self._begun(details, requests, compression)
        mailbox = Mailbox() if self._shape.streams_requests and requests is None else None
        hooks = [getattr(each, f"intercept_{self._shape.name}") for each in self._interceptors]

        def last(told: grpc.aio.ClientCallDetails, handed: Any) -> Any:
            return self._begun(told, handed, compression)

        return Chained(hooks, last, details, requests if mailbox is None else mailbox, mailbox)

    def _begun(self, details: grpc.aio.ClientCallDetails, request: Any, compression: Any) -> Any:
        self._channel.check_open()
        shape, handle = self._shape, AioHandle()
        mailbox = Mailbox() if shape.streams_requests and request is None else None
        call = self._call(details, mailbox or request, compression, handle)
        kind = StreamCall if shape.streams_responses else UnaryCall
        answered = partial(self._channel.answered, call)
        made = kind(handle, answered, details.timeout, self._deserialize, mailbox)
        self._channel.track(made)
        return made

    def _call(
        self, details: grpc.aio.ClientCallDetails, request: Any, compression: Any, handle: Any
    ) -> Call:
        """The RPC as a call; of a stream, the policy's timeout says nothing."""
        shape = self._shape
        path: Any = details.method
        wishes = {"credentials": details.credentials, "compression": compression}
        asked = {name: value for name, value in wishes.items() if value is not None}
        if shape.streams_requests:
            body: Any = AioFeed(request, self._serialize, shape, asked, handle)
        else:
            body = Message(self._serialize(request), shape, asked, handle)
        path = path.decode() if isinstance(path, bytes) else path
        return Call(
            service=self._channel.service,
            method="POST",
            path=path,
            headers=_said(details.metadata),
            body=body,
            timeout=_INF
            if shape.streams_responses and details.timeout is None
            else details.timeout,
            protocol=GRPC,
            native={"wait_for_ready": details.wait_for_ready},
            repeatable=path in self._channel.idempotent,
        )


def _told(convert: Callable[[Any], Any] | None, words: str) -> Callable[[Any], Any]:
    """`convert`, with what it raises as the INTERNAL that grpcio makes of it."""
    if convert is None:
        return _as_it_is

    def told(value: Any) -> Any:
        try:
            return convert(value)
        except Exception as exc:
            raise failed(RpcReply(grpc.StatusCode.INTERNAL, details=words)) from exc

    return told


def _said(metadata: Any) -> CIMultiDict[str]:
    """A user's metadata as headers.  Raises AioRpcError."""
    try:
        return told(metadata)
    except InvalidMetadata as exc:
        raise failed(RpcReply(grpc.StatusCode.INTERNAL, details="Invalid metadata")) from exc


def _as_it_is(value: Any) -> Any:
    return value
