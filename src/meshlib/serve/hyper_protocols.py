"""
hypercorn's HTTP/1.1 and HTTP/2, with what they lack.

HTTP/2 is agreed upon by ALPN or not at all: `Upgrade: h2c` would rewrite the head of a request
before it is admitted, and was taken out of HTTP/2 (RFC 9113 section 3.1).

A stream's flow control follows its application.  hypercorn reads on only when the application has
taken what there is, on all streams at once: an application that sends before it has read all keeps
away the very window update it waits for.  Here the connection is always read, and the peer is
given new credit for a stream when the application has taken what was sent.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived
from h2.exceptions import ProtocolError
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, EndBody, Response, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import WSStream

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.typing import AppWrapper

    from meshlib.serve.hyper_apps import Apps

_CLOSE = (b"connection", b"close")
_CRASHED = 500
_ABNORMAL = 1006  # RFC 6455 section 7.1.5


class MeshH11(H11Protocol):
    """HTTP/1.1 on one connection."""

    leaving = False

    @property
    def head_is_open(self) -> bool:
        """Whether a request has begun and its headers have not ended."""
        connection = self.connection
        return connection.their_state is h11.IDLE and bool(connection.trailing_data[0])

    async def leave(self) -> None:
        """Nothing: the next answer ends the connection, and an idle one is closed by its server."""

    def end(self) -> None:
        """Look at nothing any more that may follow the last request.

        hypercorn waits for ever for the turn of a request that follows the last answer.
        """
        self.connection = _Ended(self.connection)  # type: ignore[arg-type]

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer; with one that refuses a websocket the connection ends.

        hypercorn keeps it, and the application waiting, if the peer speaks before it is answered.
        """
        await super().stream_send(event)
        if isinstance(event, EndBody) and isinstance(self.stream, WSStream):
            if self.stream.app_put is not None:
                await self.stream.app_put({"type": "websocket.disconnect", "code": _ABNORMAL})
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        del event


class _Ended(H11WSConnection):
    def __init__(self, connection: h11.Connection) -> None:
        self.h11_connection = connection

    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> Any:
        return h11.NEED_DATA


class MeshH2(H2Protocol):
    """HTTP/2 on one connection."""

    head_is_open = False
    leaving = False

    def __init__(self, app: AppWrapper, config: Config, worker: WorkerContext, *rest: Any) -> None:
        # of its own it would break off the streams that there are
        endless = copy(config)
        endless.keep_alive_max_requests = sys.maxsize
        super().__init__(app, endless, _Unending(worker), *rest)
        self._most = config.keep_alive_max_requests
        self._unread: dict[int, int] = defaultdict(int)

    async def leave(self) -> None:
        """Refuse new streams, which may be retried, and end with the last that there is.

        GOAWAY comes last: clients that are built on h2, as httpx is, hear nothing after it.
        """
        if not self.leaving:
            self.leaving = True
            await self._end_when_done()

    def end(self) -> None:
        """Nothing: a stream that is over is told so."""

    async def handle(self, event: Any) -> None:
        """Read what has arrived; with the end of the connection nobody waits to send."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in self.stream_buffers.values():
                await buffer.close()

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer.

        "Connection: close" ends an HTTP/2 connection as well, once the streams that there are have
        ended (as in Go's net/http).  hypercorn says it of every crash too; that is no reason.
        """
        if isinstance(event, Response) and event.status_code != _CRASHED:
            if _CLOSE in event.headers:
                await self.leave()
        elif isinstance(event, StreamClosed):
            await self._break_off(event.stream_id)
        await super().stream_send(event)

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived) and (self.leaving or self._busy):
                self._reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
            elif isinstance(event, RequestReceived) and not _well_formed(event):
                self._reset(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            elif isinstance(event, DataReceived):
                await self._data(event)
            else:
                await super()._handle_events([event])
        if self.keep_alive_requests >= self._most:
            await self.leave()
        await self._flush()

    @property
    def _busy(self) -> bool:
        """Whether as many applications run as there may be streams.

        A stream that its peer has reset counts for nothing in HTTP/2, but its application may go on
        ("rapid reset", CVE-2023-44487); Go's net/http has the same limit.
        """
        apps: Apps = self.task_group  # type: ignore[assignment]
        return apps.running >= self.config.h2_max_concurrent_streams

    async def _data(self, event: DataReceived) -> None:
        stream_id, stream = event.stream_id, self.streams.get(event.stream_id)
        self._unread[stream_id] += event.flow_controlled_length
        if stream is None:  # it was answered before all of it was there (RFC 9113 section 8.1)
            await self._taken(stream_id)
            self._reset(stream_id, ErrorCodes.NO_ERROR)
            return
        await stream.handle(Body(stream_id=stream_id, data=event.data or b""))
        inbox = getattr(stream, "app_put", None)
        if inbox is None or not inbox.waiting:
            await self._taken(stream_id)
        else:
            inbox.emptied = partial(self._taken, stream_id)

    async def _taken(self, stream_id: int) -> None:
        size = self._unread.pop(stream_id, 0)
        if not size or self.closed:
            return
        try:
            self.connection.acknowledge_received_data(size, stream_id)
        except ProtocolError:
            return  # the connection is about to end
        await self._flush()

    async def _break_off(self, stream_id: int) -> None:
        """Tell the peer of an answer that will have no end."""
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None and not buffer._complete:  # noqa: SLF001 - it has no other way
            self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            await self._flush()

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        await self._taken(stream_id)
        await self._end_when_done()

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        await self._end_when_done()

    async def _end_when_done(self) -> None:
        if self.leaving and not self.closed and not self.streams and not self.stream_buffers:
            self.connection.close_connection()
            await self._flush()
            await self.send(Closed())

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        try:
            self.connection.reset_stream(stream_id, code)
        except ProtocolError:
            return  # the peer was first


class _Unending(WorkerContext):
    """A worker that does not end, as far as the protocol can see: it is told by `leave`."""

    def __init__(self, worker: WorkerContext) -> None:
        super().__init__(None)
        self._worker = worker

    async def mark_request(self) -> None:
        await self._worker.mark_request()


def _well_formed(request: RequestReceived) -> bool:
    """Whether a request of HTTP/2 can become one of ASGI, in one way only.

    h2 has checked that `:authority` and Host agree where both are there.
    """
    headers = [(bytes(name), bytes(value)) for name, value in request.headers or ()]
    said = dict(headers)
    names = [name for name, _ in headers]
    connecting = said[b":method"].upper() == b"CONNECT"
    return (
        said[b":method"].isascii()
        and said.get(b":path", b"").isascii()
        and said.get(b":path", b"") != b""
        and names.count(b"host") <= 1
        and bool(said.get(b":authority", said.get(b"host")))
        and (not connecting or said.get(b":protocol") == b"websocket")
        and (request.stream_ended is None or said.get(b"content-length", b"0") == b"0")
    )
