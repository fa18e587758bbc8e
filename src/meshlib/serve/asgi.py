"""
`MeshASGI`: what stands between the mesh and an ASGI application.

It admits, answers the health page, removes claims of identity, and tells the tracer, the listener
and the access log.  The application finds its caller in `scope["state"]["mesh_peer"]`, which is
`request.state.mesh_peer` in Starlette; from the edge listener that is None and `mesh_edge` is true.
`mesh_claims` is what verified tokens of the end user say; see `serve.tokens`.
Bodies pass in both directions as they come: nothing is buffered.

It fails closed: under a server that does not say which peer it verified, every request is 421.
"""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from functools import partial
from typing import Any, TypeAlias

from meshlib.observe.events import Inbound
from meshlib.policy.priority import HEADER, ORDINARY, parse_priority
from meshlib.serve.abandon import CancelWhenGone
from meshlib.serve.admission import (
    HEALTH_PATH,
    Admission,
    Connection,
    Head,
    Refusal,
    claims_identity,
)
from meshlib.serve.context import CARRIED, TOO_LATE, context_of, continues
from meshlib.serve.gated import GatedASGI
from meshlib.serve.guarded import authorized
from meshlib.serve.health import HEADERS, health_page
from meshlib.serve.options import AppOptions
from meshlib.serve.stages import Stages
from meshlib.serve.visit import Visit, log_refusal
from meshlib.trust.permission import Claims

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]

CONNECTION = "mesh.connection"
"""Key of the state under which a server puts the `Connection` of a request."""
TARGET = "mesh.target"
"""Key of the state under which a server puts a target (bytes) that its path does not show."""

_CLOSE = (b"connection", b"close")
_PRIORITY = HEADER.encode()
_CARRIED = frozenset(name.encode() for name in CARRIED)


class MeshASGI:
    """An ASGI application as the mesh serves it."""

    def __init__(self, app: ASGIApp, options: AppOptions, stages: Stages | None = None) -> None:
        self.app = app
        self.stages = stages or Stages()
        self.in_flight = 0
        """Requests and websockets that the application is busy with."""
        self._options = options
        self._admission = Admission(options.credentials, options.unix, options.plaintext)
        self._run: ASGIApp = CancelWhenGone(app) if options.cancel_abandoned else app
        if options.gate is not None:
            self._run = GatedASGI(self._run, options.gate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one http or websocket scope; anything else is the application's alone."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        head = _head(scope)
        refusal = self._admission.refusal(head, connection)
        if refusal is not None:
            peer = connection.identity if connection else None
            log_refusal(refusal, scope.get("method", "GET"), head, peer)
            options = self._options
            options.listener.request_refused(options.service, "admission", refusal.status)
            await _refuse(refusal, scope, receive, send)
        elif head.target == HEALTH_PATH and scope["type"] == "http":
            status, body = health_page(self._options, self.stages, connection)
            await _answer(send, status, body, HEADERS, close=self.stages.closing)
        else:
            assert connection is not None  # noqa: S101 - admitted, so it is one of ours
            await self._serve(scope, receive, send, connection, head.target)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, connection: Connection, target: str
    ) -> None:
        headers = _without_claims(scope["headers"])
        context = None  # a websocket outlives any deadline, and its calls are trees of their own
        if scope["type"] == "http":
            context = context_of(self._options, _carried(scope), edge=connection.peer is None)
        inbound = _inbound(scope, headers, connection, target, continued=continues(context))
        claims, denied = self._authorized(connection, inbound, headers)
        visit = Visit(self._options, inbound, context)
        exchange = _Exchange(visit, receive, send, self.stages)
        self.in_flight += 1
        try:
            await (denied or (_too_late if visit.too_late() else self._run))(
                _inner(scope, headers, connection, claims), exchange.receive, exchange.sender(scope)
            )
        except BaseException as error:
            visit.end(error)
            raise
        else:
            visit.end()
        finally:
            self.in_flight -= 1

    def _authorized(
        self, connection: Connection, inbound: Inbound, headers: RawHeaders
    ) -> tuple[Claims, ASGIApp | None]:
        """What tokens say, and what answers if the application is not to be asked."""
        options, header = self._options, partial(_joined, headers)
        claims, refusal = authorized(options, connection, inbound, header)
        return claims, None if refusal is None else partial(_refuse, refusal, close=False)


class _Exchange:
    """The two channels of one request, watched as messages pass."""

    __slots__ = ("_receive", "_send", "_stages", "_visit")

    def __init__(self, visit: Visit, receive: Receive, send: Send, stages: Stages) -> None:
        self._visit, self._receive, self._send, self._stages = visit, receive, send, stages

    def sender(self, scope: Scope) -> Send:
        """How the application is to send on this scope."""
        return self.send if scope["type"] == "http" else self.send_websocket

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._visit.gone = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            extra = self._visit.begin_answer(message["status"])
            if extra:
                message = _with(message, extra)
            if self._stages.closing:
                message = _closing(message)
        await self._send(message)
        if kind == "http.response.body" and not message.get("more_body", False):
            self._visit.complete()

    async def send_websocket(self, message: Message) -> None:
        # what is measured of a websocket is its handshake: how long it lives is up to the two ends
        kind = message["type"]
        if kind == "websocket.accept":
            self._visit.status = 101
        elif kind == "websocket.close":
            self._visit.status = self._visit.status or 403
        elif kind == "websocket.http.response.start":
            self._visit.status = message["status"]
        await self._send(message)
        self._visit.complete()


class _Headers(Mapping[str, str]):
    """Headers by lower-case name; of repeated ones the last."""

    __slots__ = ("_raw",)

    def __init__(self, raw: RawHeaders) -> None:
        self._raw = dict(raw)

    def __getitem__(self, name: str) -> str:
        return self._raw[name.encode("latin-1")].decode("latin-1")

    def __contains__(self, name: object) -> bool:
        # Mapping's own raises and catches: this is asked several times a request
        return isinstance(name, str) and name.encode("latin-1") in self._raw

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def _head(scope: Scope) -> Head:
    headers = scope["headers"]
    names = [name for name, _ in headers]
    encodings = names.count(b"transfer-encoding")
    return Head(
        scope.get("http_version", "1.1"),
        _target(scope).decode("latin-1"),
        names.count(b"host"),
        names.count(b"content-length"),
        encodings,
        dict(headers)[b"transfer-encoding"].decode("latin-1") if encodings else "chunked",
    )


def _target(scope: Scope) -> bytes:
    target: bytes | None = scope.get("state", {}).get(TARGET) or scope.get("raw_path")
    return target or scope["path"].encode()


def _without_claims(headers: RawHeaders) -> RawHeaders:
    # ASGI has them in lower case; nearly every request has no claim, which is found out cheaply
    suspects = [name for name, _ in headers if name[:1] == b"x"]
    claims = {name for name in suspects if claims_identity(name.decode("latin-1"))}
    return [pair for pair in headers if pair[0] not in claims] if claims else headers


def _joined(headers: RawHeaders, name: str) -> str | None:
    """All headers of one name as one (RFC 9110 section 5.3); None: there is none.

    `_` is `-`, as it is to every application behind WSGI and CGI: no rule is evaded by it.
    """
    raw = name.encode("latin-1").replace(b"_", b"-")
    values = [value for found, value in headers if found.replace(b"_", b"-") == raw]
    return b",".join(values).decode("latin-1") if values else None


def _inbound(
    scope: Scope, headers: RawHeaders, connection: Connection, target: str, *, continued: bool
) -> Inbound:
    return Inbound(
        _method(scope),
        target,
        _Headers(headers),
        connection.identity,
        scope.get("client") or ("", 0),
        connection.edge,
        connection.plaintext,
        continued,
    )


def _method(scope: Scope) -> str:
    """In capitals, as ASGI says; not every server does it, and applications compare it so."""
    method: str = scope.get("method", "GET")
    return method.upper()


def _inner(scope: Scope, headers: RawHeaders, connection: Connection, claims: Claims) -> Scope:
    """What the application sees."""
    inner = {**scope, "headers": headers}
    if "method" in scope:
        inner["method"] = _method(scope)
    inner["state"] = {
        **scope["state"],
        "mesh_peer": connection.identity,
        "mesh_edge": connection.edge,
        "mesh_claims": dict(claims),
        "mesh_priority": _priority(scope, connection),
    }
    if connection.peer is not None:
        extensions = scope.get("extensions") or {}
        inner["extensions"] = {**extensions, "tls": _tls(connection)}
    return inner


def _tls(connection: Connection) -> dict[str, Any]:
    """An entry in the manner of ASGI's TLS extension, which wants PEM chains nobody here needs."""
    peer = connection.peer
    assert peer is not None  # noqa: S101 - asked by the caller
    return {"spiffe_id": str(peer.spiffe_id), "client_cert_der": peer.der}


def _carried(scope: Scope) -> dict[str, str]:
    said = ((name, value) for name, value in scope["headers"] if name in _CARRIED)
    return {name.decode(): value.decode("latin-1") for name, value in said}


def _priority(scope: Scope, connection: Connection) -> int:
    """What a peer of the mesh says; from anybody else it is not believed."""
    if connection.identity is None:
        return ORDINARY
    said = (value for name, value in scope["headers"] if name == _PRIORITY)
    return parse_priority(next(said, b"").decode("latin-1"))


def _with(message: Message, extra: Iterable[tuple[str, str]]) -> Message:
    """The message with these headers in place of those an application may have handed on."""
    raw = {name.encode(): value.encode() for name, value in extra}
    kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in raw]
    return {**message, "headers": [*kept, *raw.items()]}


async def _too_late(_scope: Scope, _receive: Receive, send: Send) -> None:
    """What answers in place of the application when nobody waits for it."""
    headers = (("content-type", "text/plain; charset=utf-8"),)
    await _answer(send, 504, f"{TOO_LATE}\n".encode(), headers, close=False)


def _closing(message: Message) -> Message:
    headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
    return {**message, "headers": [*headers, _CLOSE]}


async def _refuse(
    refusal: Refusal, scope: Scope, receive: Receive, send: Send, *, close: bool = True
) -> None:
    body = f"{refusal.reason}\n".encode()
    headers = (("content-type", "text/plain; charset=utf-8"), *refusal.headers)
    if scope["type"] == "http":
        await _answer(send, refusal.status, body, headers, close=close)
        return
    await receive()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await _answer(send, refusal.status, body, headers, close=True, prefix="websocket.")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: Sequence[tuple[str, str]],
    *,
    close: bool,
    prefix: str = "",
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw.append((b"content-length", str(len(body)).encode()))
    if close:
        raw.append(_CLOSE)
    await send({"type": f"{prefix}http.response.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}http.response.body", "body": body})
