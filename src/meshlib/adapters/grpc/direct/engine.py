"""Sends the attempts of unary RPCs that ask for nothing which grpcio alone can do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from grpc import FutureCancelledError, StatusCode

from meshlib.adapters.grpc.direct.blocks import opening, timeout, told
from meshlib.adapters.grpc.direct.errors import NeverTaken
from meshlib.adapters.grpc.direct.exchange import Exchange
from meshlib.adapters.grpc.direct.wire import Wire
from meshlib.adapters.grpc.direct.wire_aio import AioWire, settle
from meshlib.adapters.grpc.direct.wire_sync import SyncWire
from meshlib.adapters.grpc.direct.wires_aio import AioWires
from meshlib.adapters.grpc.direct.wires_sync import SyncWires
from meshlib.adapters.grpc.outcome import our_time_was_up
from meshlib.adapters.grpc.racing import handles, racing
from meshlib.adapters.grpc.replies import RpcReply
from meshlib.adapters.grpc.rpc import UNARY_UNARY, said
from meshlib.adapters.wire import interrupted, not_connected, target_of
from meshlib.model import Attempt
from meshlib.runtime import Clock

LARGEST = 4 << 20
"""Bytes of an answer, as grpcio has it (`grpc.max_receive_message_length`)."""
_RECEIVE, _SEND = "grpc.max_receive_message_length", "grpc.max_send_message_length"
_AGENT = "grpc.primary_user_agent"

_RACING = 0.005
"""Seconds after which the loser of a race is told: the caller waits for that."""

W = TypeVar("W", SyncWire, AioWire)


@dataclass(frozen=True, slots=True)
class Manners:
    """What a channel's options say of its calls; sizes in bytes, -1: as many as there are."""

    largest: int = LARGEST
    largest_sent: int = -1
    agent: str = "grpc-python-meshlib"

    @classmethod
    def of(cls, options: Iterable[tuple[str, Any]]) -> Manners | None:
        """Those of a channel's options; None: some of them grpcio alone understands."""
        given = dict(options)
        known = {_RECEIVE, _SEND, _AGENT}
        if given.keys() - known:
            return None
        agent = " ".join(filter(None, (given.get(_AGENT), cls().agent)))
        return cls(given.get(_RECEIVE, LARGEST), given.get(_SEND, -1), agent)


class _Direct(Generic[W]):
    def __init__(self, clock: Clock, manners: Manners) -> None:
        self._clock, self._manners = clock, manners

    def takes(self, body: Any) -> bool:
        """Whether it is a unary RPC, without credentials or compression of its own."""
        return getattr(body, "shape", None) is UNARY_UNARY and not body.wishes

    def _exchange(self, attempt: Attempt) -> Exchange | RpcReply:
        """What to send, or why that cannot be."""
        call, manners = attempt.call, self._manners
        content: bytes = call.body.content  # type: ignore[attr-defined]
        if 0 <= manners.largest_sent < len(content):
            words = f"Sent message larger than max ({len(content)} vs. {manners.largest_sent})"
            return RpcReply(StatusCode.RESOURCE_EXHAUSTED, details=f"CLIENT: {words}")
        path = call.path if call.sent_path is None else call.sent_path
        left = attempt.deadline - self._clock()
        try:
            block = opening(target_of(attempt).service, path, manners.agent) + told(said(attempt))
        except ValueError as exc:
            return RpcReply(StatusCode.INTERNAL, details=str(exc))
        if left != inf:
            block += timeout(left)
        return Exchange(block, content, manners.largest)

    def _reply(self, attempt: Attempt, exchange: Exchange, wire: Wire) -> RpcReply:
        """What came of it.  Raises Interrupted; FutureCancelledError: the user ended it."""
        if exchange.code is None:
            if wire.is_cut or exchange.error is None:
                raise FutureCancelledError
            raise interrupted(attempt, exchange.error) from exchange.error
        if our_time_was_up(exchange.code, exchange.details, attempt, self._clock()):
            raise interrupted(attempt, TimeoutError())
        return RpcReply(
            exchange.code,
            exchange.initial,
            exchange.trailing,
            content=exchange.content,
            details=exchange.details,
        )

    def _again(self, attempt: Attempt, wire: Wire, error: NeverTaken, *, new: bool) -> None:
        """Return if another connection may do better."""
        if wire.is_cut:
            raise FutureCancelledError
        if new or wire.usable:  # a server that refuses calls is not to be flooded with handshakes
            raise not_connected(attempt, wire.error or error) from error


class SyncDirect(_Direct[SyncWire]):
    """From any thread."""

    def __init__(self, wires: SyncWires, clock: Clock, manners: Manners) -> None:
        super().__init__(clock, manners)
        self._wires = wires

    def __call__(self, attempt: Attempt) -> RpcReply:
        """Send one attempt.  Raises ConnectFailed, PeerNotTrusted, Interrupted."""
        while True:
            left = attempt.deadline - self._clock()
            wire, new = self._wires.enter(attempt, max(min(attempt.connect_timeout, left), 1e-3))
            try:
                exchange = self._exchange(attempt)
                if isinstance(exchange, RpcReply):
                    return exchange
                if racing():
                    exchange.tick = _RACING
                for handle in handles(attempt.call.body):
                    handle.begun(_Begun(wire, exchange))
                wire.call(exchange, attempt.deadline)
                return self._reply(attempt, exchange, wire)
            except NeverTaken as exc:
                self._again(attempt, wire, exc, new=new)
            except TimeoutError as exc:
                raise interrupted(attempt, exc) from exc
            finally:
                wire.leave()

    def close(self) -> None:
        """End every connection, and the calls on it."""
        self._wires.close()


class AioDirect(_Direct[AioWire]):
    """From one event loop."""

    def __init__(self, wires: AioWires, clock: Clock, manners: Manners) -> None:
        super().__init__(clock, manners)
        self._wires = wires

    async def __call__(self, attempt: Attempt) -> RpcReply:
        """Send one attempt.  Raises ConnectFailed, PeerNotTrusted, Interrupted."""
        while True:
            left = attempt.deadline - self._clock()
            seconds = max(min(attempt.connect_timeout, left), 1e-3)
            wire, new = await self._wires.enter(attempt, seconds)
            try:
                exchange = self._exchange(attempt)
                if isinstance(exchange, RpcReply):
                    return exchange
                handle = attempt.call.body.handle  # type: ignore[attr-defined]
                if handle is not None:
                    handle.begun(_AioBegun(exchange))
                left = attempt.deadline - self._clock()
                await wire.call(exchange, None if left == inf else max(left, 0.0))
                return self._reply(attempt, exchange, wire)
            except NeverTaken as exc:
                self._again(attempt, wire, exc, new=new)
            except TimeoutError as exc:
                raise interrupted(attempt, exc) from exc
            finally:
                wire.leave()

    async def close(self) -> None:
        """Close every connection with its last call."""
        await self._wires.close()


class _Begun:
    """A call on the wire, as a handle knows it."""

    def __init__(self, wire: SyncWire, exchange: Exchange) -> None:
        self._wire, self._exchange = wire, exchange

    def cancel(self) -> None:
        """Want it no more."""
        self._wire.cancel(self._exchange)


class _AioBegun:
    """The same in an event loop, where cancelling is the task's affair."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def initial_metadata(self) -> Any:
        """What the server said before its answer; waits for that."""
        exchange = self._exchange
        if exchange.head is None and not exchange.done:
            news = asyncio.get_running_loop().create_future()
            exchange.on_head = (*exchange.on_head, partial(settle, news))
            await news
        return exchange.initial
