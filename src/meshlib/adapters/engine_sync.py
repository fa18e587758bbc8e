"""
The synchronous engine: urllib3's connections and pools carry the bytes.

One connection pool an endpoint, identity to expect and trust generation.  Its coroutines never
suspend: they block.  A process that was forked starts with no connection, for those it inherited
are its parent's.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from math import inf
from typing import Any

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.util import SKIP_HEADER, Timeout

from meshlib.adapters.body import BytesBody, StreamBody
from meshlib.adapters.quick_call import QuickPool
from meshlib.adapters.quick_head import QuickResponse
from meshlib.adapters.quick_request import target_on_wire
from meshlib.adapters.trust import outlives_its_peer
from meshlib.adapters.upgraded import SWITCHING
from meshlib.adapters.upgraded_sync import upgraded_sync
from meshlib.adapters.wire import (
    Trust,
    endpoint_of,
    failure_of_body,
    interrupted,
    not_connected,
    reads_ahead,
    target_of,
)
from meshlib.model import Attempt, Endpoint, Reply, Target
from meshlib.runtime import Clock

_BROKEN = (urllib3.exceptions.HTTPError, OSError)
_NOT_ADDED = ("User-Agent", "Accept-Encoding")
_CONNECTIONS = 64
"""Idle connections kept an endpoint; more may be open at a time."""
_PART = 64 * 1024


class _NotConnected(Exception):
    """What went wrong before the first byte: a note from `connect` to `_send`."""


class _Connection(HTTPSConnection):
    """Says of a failure whether it happened before anything was sent.

    And says nothing of a body that there is not: urllib3 would, of most methods, and the faces have
    said so already where their library does.
    """

    response_class = QuickResponse
    _bodiless = False

    def connect(self) -> None:
        """Connect and shake hands.  Raises _NotConnected, with the cause chained."""
        try:
            super().connect()
        except (OSError, urllib3.exceptions.HTTPError) as exc:
            raise _NotConnected from exc

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any
    ) -> None:
        """As urllib3's."""
        self._bodiless = body is None and "content-length" not in headers
        super().request(method, url, body, headers, **more)

    def putheader(self, header: str, *values: Any) -> None:  # type: ignore[override]
        """As urllib3's."""
        if not (self._bodiless and header == "Content-Length"):
            super().putheader(header, *values)


class _Pool(QuickPool):
    ConnectionCls = _Connection

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, unix: Clock) -> None:
        self._unix = unix
        super().__init__(
            endpoint.host,
            endpoint.port,
            maxsize=_CONNECTIONS,
            ssl_context=context,
            assert_hostname=False,
            retries=False,
        )

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        if outlives_its_peer(getattr(connection, "sock", None), self._unix):
            connection.close()  # as urllib3 does with a dead one: it connects anew
        return connection

    def _make_request(self, conn: Any, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]
        """Ask for exactly what the call names: urllib3 has quoted it once more by now."""
        return super()._make_request(conn, method, options["headers"].target or url, **options)


class _Headers(urllib3.HTTPHeaderDict):
    """The headers of an attempt, and the target on its request line."""

    target = ""

    def copy(self) -> _Headers:
        """The same: they were made for one attempt, and urllib3 wants its proxy's besides."""
        return self


class _StreamedReply(Reply):
    """A reply whose body is still to come."""

    __slots__ = ("_attempt", "_response")

    def __init__(self, attempt: Attempt, response: urllib3.BaseHTTPResponse) -> None:
        super().__init__(response.status, response.headers, _raw(response), content=None)
        self._attempt, self._response = attempt, response

    def __iter__(self) -> Iterator[bytes]:
        """The body's parts, as they come in.  Raises Interrupted."""
        try:
            while part := self._response.read1(_PART, decode_content=False):
                yield part
        except _BROKEN as exc:
            failure = interrupted(self._attempt, _timeout_in(exc))
            self._response.close()
            self.close(failure)
            raise failure from exc
        self._response.release_conn()
        self.close()

    async def discard(self) -> None:
        """Close the connection, unless the body has been read to its end."""
        if not self.closed:
            self._response.close()
        self.close()


class SyncEngine:
    """Sends attempts from any thread."""

    def __init__(self, trust: Trust, *, clock: Clock, idle: float, unix: Clock = time.time) -> None:
        self._trust, self._clock, self._idle, self._unix = trust, clock, idle, unix
        self._lock = threading.Lock()
        self._pools: dict[tuple[ssl.SSLContext, str, int], tuple[int, _Pool]] = {}
        self._pid = os.getpid()

    async def __call__(self, attempt: Attempt) -> Reply:
        """Send one attempt.  Raises ConnectFailed, PeerNotTrusted, Interrupted."""
        while True:
            pool = self._pool(target_of(attempt), endpoint_of(attempt))
            left = attempt.deadline - self._clock()
            try:
                quick = pool.quickly(attempt, _silence(attempt, left))
                response = quick or _send(pool, attempt, left)
            except urllib3.exceptions.ClosedPoolError:
                continue  # trust was rotated between the two, and nothing was sent
            return response if isinstance(response, Reply) else _reply(attempt, response)

    def close(self) -> None:
        """Close every idle connection; those in use close with their last reply."""
        with self._lock:
            pools, self._pools = self._pools, {}
        for _, pool in pools.values():
            pool.close()

    def _pool(self, target: Target, endpoint: Endpoint) -> _Pool:
        context, generation = self._trust(target)
        key = (context, endpoint.host, endpoint.port)
        found = self._pools.get(key)
        if found is not None and found[0] == generation and self._pid == os.getpid():
            return found[1]
        with self._lock:
            self._forget_after_fork()
            found = self._pools.get(key)
            if found is None or found[0] < generation:  # whoever is ahead is right
                self._pools[key] = (generation, _Pool(endpoint, context, self._unix))
                if found is not None:
                    found[1].close()
            return self._pools[key][1]

    def _forget_after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._pools = os.getpid(), {}


def _send(pool: _Pool, attempt: Attempt, left: float) -> urllib3.BaseHTTPResponse:
    call, body = attempt.call, attempt.call.body
    headers = _headers(attempt)
    stream = body if isinstance(body, StreamBody) else None
    try:
        return pool.urlopen(
            call.method,
            headers.target,
            body=(body.content or None) if isinstance(body, BytesBody) else stream,
            headers=headers,
            chunked=stream is not None and "content-length" not in call.headers,
            timeout=_timeout(attempt, left),
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
    except urllib3.exceptions.ClosedPoolError:
        raise
    except _NotConnected as exc:
        raise not_connected(attempt, _timeout_in(exc.__cause__ or exc)) from exc.__cause__
    except _BROKEN as exc:
        raise failure_of_body(call) or interrupted(attempt, _timeout_in(exc)) from exc


def _reply(attempt: Attempt, response: urllib3.BaseHTTPResponse) -> Reply:
    """The reply, with its body if that is small."""
    if response.status == SWITCHING:
        return upgraded_sync(response, _raw(response))
    if not reads_ahead(attempt.call.method, response.status, response.headers):
        reply: Reply = _StreamedReply(attempt, response)
    else:
        try:
            # past urllib3, whose reading costs more than what is read
            content = response._original_response.read()  # type: ignore[attr-defined]  # noqa: SLF001 - as for `_raw`
        except (*_BROKEN, HTTPException) as exc:
            response.close()
            raise interrupted(attempt, _timeout_in(exc)) from exc
        except BaseException:  # such as Ctrl-C: urllib3 would not keep the connection either
            response.close()
            raise
        response.release_conn()
        reply = Reply(response.status, response.headers, _raw(response), content)
    reply.reason = response.reason or ""
    return reply


def _timeout(attempt: Attempt, left: float) -> Timeout:
    """Limits of one socket operation each; urllib3 has none for the sum of the reads."""
    connect = max(min(attempt.connect_timeout, left), 1e-3)
    return Timeout(connect=connect, read=_silence(attempt, left))


def _silence(attempt: Attempt, left: float) -> float | None:
    """Seconds that one read may take."""
    silence = min(attempt.call.read_timeout, attempt.call.silence, left)
    return None if silence == inf else max(silence, 1e-3)


def _timeout_in(exc: BaseException) -> BaseException:
    """What it was: urllib3's timeouts are no TimeoutError, its refused connections are timeouts."""
    if isinstance(exc, urllib3.exceptions.NewConnectionError):
        return exc.__cause__ or exc
    if isinstance(exc, urllib3.exceptions.TimeoutError):
        return TimeoutError(str(exc))
    return exc


def _headers(attempt: Attempt) -> _Headers:
    headers, call = _Headers(), attempt.call
    headers.target = target_on_wire(call)
    for name, value in (call.headers if call.sent_headers is None else call.sent_headers).items():
        headers.add(name, value)
    headers.pop("Transfer-Encoding", None)  # urllib3 frames the body, and says so
    headers.update(attempt.headers)
    for name in _NOT_ADDED:
        headers.setdefault(name, SKIP_HEADER)
    return headers


def _raw(response: Any) -> list[tuple[bytes, bytes]]:
    """The headers as they came: urllib3's own dictionary puts those of one name together."""
    message = response._original_response.msg  # noqa: SLF001 - as requests looks for cookies
    return [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in message.raw_items()
    ]
