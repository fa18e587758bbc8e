"""
The gate in front of an application, for ASGI and for WSGI.

It stands inside of what `serve.asgi` and `serve.wsgi` do, so that a request that is turned away has
its span, its line in the access log and its place in the metrics like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from meshlib.policy import priority as priorities
from meshlib.policy.nack import NO, RETRY
from meshlib.policy.rates import Visitor
from meshlib.serve.limits import Gate, Place
from meshlib.serve.told import Turned

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Environ: TypeAlias = dict[str, Any]
WSGIApp: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_TEXT = ("content-type", "text/plain; charset=utf-8")
_OVERLOADED: tuple[tuple[str, str], ...] = ((RETRY, NO),)
"""More of the same is what it cannot take; a 429 says by Retry-After when it can."""


class GatedASGI:
    """An ASGI application behind a gate.  Reads what `MeshASGI` put into the scope's state."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request at its priority, or turn it away."""
        level: int = scope["state"]["mesh_priority"]
        token = priorities.adopt(level)
        try:
            if self._gate.active:
                await self._gated(scope, receive, send, level)
            else:
                await self._app(scope, receive, send)
        finally:
            priorities.leave(token)

    async def _gated(self, scope: Scope, receive: Receive, send: Send, level: int) -> None:
        gate, visitor = self._gate, _visitor_of_scope(scope)
        if gate.sensor is not None:
            gate.sensor.watch_loop()
        turned = gate.turned(visitor, level) or await gate.turned_by_all_async(visitor)
        place = turned or gate.place()
        if isinstance(place, Turned):
            await _turn_away(place, scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            place.leave(answer.status)


class _Answer:
    """Looks at the status as it passes; a websocket has none that tells how long work takes."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _visitor_of_scope(scope: Scope) -> Visitor:
    peer = scope["state"]["mesh_peer"]
    method, path = scope.get("method", "GET"), scope["path"]
    if peer is None:
        client = scope.get("client") or ("", 0)
        return Visitor(client[0], "", method, path)
    return Visitor(peer.spiffe_id, peer.service, method, path)


async def _turn_away(turned: Turned, scope: Scope, receive: Receive, send: Send) -> None:
    prefix = ""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1013, "reason": turned.reason})
            return
        prefix = "websocket."
    body = f"{turned.reason}\n".encode()
    nack = _OVERLOADED if turned.status == 503 else ()
    headers = [*turned.headers, *nack, _TEXT, ("content-length", str(len(body)))]
    raw = [(name.encode(), value.encode()) for name, value in headers]
    start = {"type": f"{prefix}http.response.start", "status": turned.status, "headers": raw}
    await send(start)
    await send({"type": f"{prefix}http.response.body", "body": body})


class GatedWSGI:
    """The same for a WSGI application.  Its place is kept until the server closes the answer."""

    def __init__(self, app: WSGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request at its priority, or turn it away."""
        level: int = environ["mesh.priority"]
        token = priorities.adopt(level)
        try:
            if self._gate.active:
                return self._gated(environ, start_response, level)
            return self._app(environ, start_response)
        finally:
            priorities.leave(token)

    def _gated(
        self, environ: Environ, start_response: Callable[..., Any], level: int
    ) -> Iterable[bytes]:
        gate, visitor = self._gate, _visitor_of_environ(environ)
        if gate.sensor is not None:
            gate.sensor.watch_threads()
        turned = gate.turned(visitor, level) or gate.turned_by_all(visitor)
        place = turned or gate.place()
        if isinstance(place, Turned):
            return _turned_away(place, start_response)
        if gate.concurrency is None:
            return self._app(environ, start_response)
        body = _Body(place)

        def start(status: str, *args: Any) -> Any:
            body.status = int(status[:3])
            return start_response(status, *args)

        try:
            body.result = self._app(environ, start)
        except BaseException:
            place.leave(0)
            raise
        return body


class _Body:
    """The application's iterable, giving up its place when the server closes it."""

    def __init__(self, place: Place) -> None:
        self._place: Place | None = place
        self.result: Iterable[bytes] = ()
        self.status = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.result)

    def close(self) -> None:
        """Close what the application returned, and leave."""
        place, self._place = self._place, None
        try:
            close = getattr(self.result, "close", None)
            if close is not None:
                close()
        finally:
            if place is not None:
                place.leave(self.status)


def _visitor_of_environ(environ: Environ) -> Visitor:
    peer = environ["mesh.peer"]
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if peer is None:
        return Visitor(environ.get("REMOTE_ADDR", ""), "", environ["REQUEST_METHOD"], path)
    return Visitor(peer.spiffe_id, peer.service, environ["REQUEST_METHOD"], path)


def _turned_away(turned: Turned, start_response: Callable[..., Any]) -> list[bytes]:
    body = f"{turned.reason}\n".encode()
    line = f"{turned.status} {HTTPStatus(turned.status).phrase}"
    nack = _OVERLOADED if turned.status == 503 else ()
    start_response(line, [*turned.headers, *nack, _TEXT, ("content-length", str(len(body)))])
    return [body]
