"""
The asynchronous engine: aiohttp's connector and parser carry the bytes.

One connection pool an identity to expect and trust generation; aiohttp keeps the connections in it
apart by address.  When the trust generation changes, new requests get a new pool and the old one
closes with its last reply.  Why aiohttp and not httpx's own pool: docs/decisions/0002.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from functools import partial
from math import inf
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from meshlib.adapters.body import AsyncStreamBody, BytesBody
from meshlib.adapters.one_length import with_one_length
from meshlib.adapters.trust import outlives_its_peer
from meshlib.adapters.upgraded import SWITCHING
from meshlib.adapters.upgraded_async import upgraded_async
from meshlib.adapters.wire import (
    Trust,
    endpoint_of,
    failure_of_body,
    interrupted,
    not_connected,
    reads_ahead,
    target_of,
)
from meshlib.model import Attempt, Reply, Target
from meshlib.runtime import Clock

_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_LINE = 64 * 1024
"""Bytes of a line of a head: what http.client takes, where aiohttp by itself ends at 8 KiB."""
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    ssl.SSLCertVerificationError,
)
_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


class _Request(aiohttp.ClientRequest):
    """Says of its body what the call says, and nothing where there is none."""

    def update_body_from_data(self, body: Any, *options: Any) -> None:
        """Take the body; aiohttp itself adds a length of 0 to a DELETE that has none."""
        if body is not None:
            super().update_body_from_data(body, *options)


class _Handler(ResponseHandler):
    """A connection that is closed twice is aborted.

    aiohttp closes one whose answer is no HTTP, and then again as it gives it up; at that asyncio's
    TLS transport forgets how to end at all but by its peer's goodbye.

    And a length that is said twice, each time the same, is said once (RFC 9110, section 8.6): the
    parser would refuse it, which other clients do not.
    """

    _before_head = False

    def set_response_params(self, **params: Any) -> None:
        """As aiohttp's; a head is what comes next."""
        self._before_head = True
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """As aiohttp's."""
        if self._before_head and data:
            self._before_head = False
            data = with_one_length(data)
        super().data_received(data)

    def close(self) -> None:
        if self.transport is not None and self.transport.is_closing():
            self.abort()
        super().close()


class _Connector(aiohttp.TCPConnector):
    """Knows its transports until they are closed, to end them with the loop.

    A TLS connection that broke waits up to 30 s for its peer's goodbye (the default of asyncio and
    uvloop), and aiohttp has forgotten it by then.
    """

    def __init__(self, context: ssl.SSLContext, idle: float, unix: Clock) -> None:
        super().__init__(ssl=context, limit=0, keepalive_timeout=idle)
        kind: type[ResponseHandler] = _Handler
        self._factory = partial(kind, loop=self._loop)
        self._unix = unix
        self._transports: set[asyncio.Transport] = set()

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **kwargs)
        while self._is_outdated(connection.transport):
            connection.close()
            connection = await super().connect(*args, **kwargs)
        transport, protocol = connection.transport, connection.protocol
        if transport is not None and transport not in self._transports and protocol is not None:
            self._remember(transport, protocol.closed)
        return connection

    def abort(self) -> None:
        """Drop every connection that is still there, without a goodbye."""
        for transport in tuple(self._transports):
            transport.abort()

    def _is_outdated(self, transport: asyncio.Transport | None) -> bool:
        if transport not in self._transports:
            return False  # it is new, so its peer was verified just now
        return outlives_its_peer(transport.get_extra_info("ssl_object"), self._unix)

    def _remember(self, transport: asyncio.Transport, closed: asyncio.Future[None] | None) -> None:
        def forget(done: asyncio.Future[None]) -> None:
            self._transports.discard(transport)
            if not done.cancelled():
                done.exception()  # whoever used the connection was told of it

        if closed is not None:
            self._transports.add(transport)
            closed.add_done_callback(forget)


class _Pool:
    """The connections to one service under one trust generation."""

    def __init__(self, context: ssl.SSLContext, generation: int, idle: float, unix: Clock) -> None:
        self.generation = generation
        self._users = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None
        self._connector = _Connector(context, idle, unix)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            trust_env=False,
            max_line_size=_LINE,
            max_field_size=_LINE,
        )
        self._session._retry_connection = False  # noqa: SLF001 - an attempt is one attempt
        self.request = self._session.request

    def enter(self) -> None:
        self._users += 1

    def leave(self, _: BaseException | None = None) -> None:
        self._users -= 1
        self._close_if_unused()

    def retire(self) -> None:
        """Close with the last reply still being read."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self._users and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._session.close())

    async def close(self) -> None:
        """Close every connection, also those of replies still being read."""
        if self._closing is not None:
            await self._closing
        await self._session.close()
        self._connector.abort()


class _StreamedReply(Reply):
    """A reply whose body is still to come."""

    __slots__ = ("_attempt", "_response")

    def __init__(self, attempt: Attempt, response: aiohttp.ClientResponse) -> None:
        super().__init__(response.status, response.headers, response.raw_headers, content=None)
        self._attempt, self._response = attempt, response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body's parts, as they come in.  Raises Interrupted."""
        try:
            async for part in self._response.content.iter_any():
                yield part
        except _BROKEN as exc:
            failure = interrupted(self._attempt, exc)
            self.close(failure)
            raise failure from exc
        self.close()

    async def discard(self) -> None:
        """Close the connection, unless the body has been read to its end."""
        self._response.close()
        self.close()


class AsyncEngine:
    """Sends attempts from one event loop."""

    def __init__(self, trust: Trust, *, clock: Clock, idle: float, unix: Clock = time.time) -> None:
        self._trust, self._clock, self._idle, self._unix = trust, clock, idle, unix
        self._pools: dict[ssl.SSLContext, _Pool] = {}
        self._retired: WeakSet[_Pool] = WeakSet()

    async def __call__(self, attempt: Attempt) -> Reply:
        """Send one attempt.  Raises ConnectFailed, PeerNotTrusted, Interrupted."""
        pool = self._pool(target_of(attempt))
        left = attempt.deadline - self._clock()
        pool.enter()
        try:
            async with asyncio.timeout(None if left == inf else left):
                response = await _send(pool, attempt, left)
                reply = await _reply(attempt, response)
        except TimeoutError as exc:
            pool.leave()
            raise interrupted(attempt, exc) from exc
        except BaseException:
            pool.leave()
            raise
        reply.on_close(pool.leave)
        return reply

    async def close(self) -> None:
        """Close every connection."""
        pools = (*self._pools.values(), *self._retired)
        self._pools.clear()
        for pool in pools:
            await pool.close()
        await asyncio.sleep(0)  # let the transports that were aborted close their sockets

    def _pool(self, target: Target) -> _Pool:
        context, generation = self._trust(target)
        pool = self._pools.get(context)
        if pool is not None and pool.generation == generation:
            return pool
        if pool is not None:
            self._retired.add(pool)
            pool.retire()
        new = self._pools[context] = _Pool(context, generation, self._idle, self._unix)
        return new


async def _send(pool: _Pool, attempt: Attempt, left: float) -> aiohttp.ClientResponse:
    call, body = attempt.call, attempt.call.body
    silence = min(call.read_timeout, call.silence)
    try:
        return await pool.request(
            call.method,
            _url(attempt),
            headers=_headers(attempt),
            data=(body.content or None) if isinstance(body, BytesBody) else _stream(attempt),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=max(min(attempt.connect_timeout, left), 1e-3),
                sock_read=None if silence == inf else silence,
            ),
        )
    except _NOT_CONNECTED as exc:
        raise not_connected(attempt, exc) from exc
    except _BROKEN as exc:
        raise failure_of_body(call) or interrupted(attempt, exc) from exc


async def _reply(attempt: Attempt, response: aiohttp.ClientResponse) -> Reply:
    """The reply, with its body if that is small or has all arrived."""
    if response.status == SWITCHING:
        return upgraded_async(response)
    if not (
        response.content.is_eof()
        or reads_ahead(attempt.call.method, response.status, response.headers)
    ):
        reply: Reply = _StreamedReply(attempt, response)
    else:
        try:
            content = await response.read()
        except _BROKEN as exc:
            response.close()
            raise interrupted(attempt, exc) from exc
        reply = Reply(response.status, response.headers, response.raw_headers, content)
    reply.reason = response.reason or ""
    return reply


def _url(attempt: Attempt) -> URL:
    call = attempt.call
    query = f"?{call.query}" if call.query else ""
    path = call.path if call.sent_path is None else call.sent_path
    return URL(f"https://{endpoint_of(attempt).authority}{path}{query}", encoded=True)


def _headers(attempt: Attempt) -> CIMultiDict[str]:
    call = attempt.call
    headers = CIMultiDict(call.headers if call.sent_headers is None else call.sent_headers)
    headers.popall("Transfer-Encoding", None)  # aiohttp frames the body, and insists on saying so
    headers.update(attempt.headers)
    return headers


def _stream(attempt: Attempt) -> AsyncStreamBody | None:
    body = attempt.call.body
    return body if isinstance(body, AsyncStreamBody) else None
