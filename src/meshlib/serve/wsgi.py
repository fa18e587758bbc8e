"""
`MeshWSGI`: what stands between the mesh and a WSGI application; see `serve.asgi`.

The application finds its caller in `environ["mesh.peer"]`, an `Identity`; from the edge listener
that is None and `environ["mesh.edge"]` is true; `environ["mesh.claims"]` is what verified tokens
of the end user say.  The span ends when the server closes the iterable,
in the thread that called the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

from meshlib.observe.events import Inbound
from meshlib.policy.priority import HEADER, ORDINARY, parse_priority
from meshlib.serve.admission import (
    HEALTH_PATH,
    Admission,
    Connection,
    Head,
    Refusal,
    claims_identity,
)
from meshlib.serve.context import CARRIED, TOO_LATE, context_of, continues
from meshlib.serve.gated import GatedWSGI
from meshlib.serve.guarded import authorized
from meshlib.serve.health import HEADERS, health_page
from meshlib.serve.options import AppOptions
from meshlib.serve.stages import Stages
from meshlib.serve.visit import Visit, log_refusal
from meshlib.trust.permission import Claims

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_PRIORITY = f"HTTP_{HEADER.upper().replace('-', '_')}"
_CARRIED = tuple((f"HTTP_{name.upper().replace('-', '_')}", name) for name in CARRIED)


class Transport(Protocol):
    """What the server knows and WSGI has no word for."""

    def connection_of(self, environ: Environ) -> Connection | None:
        """The connection a request came in by; None when it is not one of ours."""

    def close_after(self, environ: Environ) -> None:
        """Have the answer to this request end its connection."""


class ForeignServer:
    """A server that is not ours: nothing is proven, so nobody is admitted."""

    def connection_of(self, environ: Environ) -> Connection | None:
        """Nothing is known."""
        return None

    def close_after(self, environ: Environ) -> None:
        """Leave it to the server."""


class MeshWSGI:
    """A WSGI application as the mesh serves it."""

    def __init__(self, app: WSGIApp, options: AppOptions, stages: Stages | None = None) -> None:
        self.app = app
        self.stages = stages or Stages()
        self.transport: Transport = ForeignServer()
        """Set by the server, before its first request."""
        self._options = options
        self._admission = Admission(options.credentials, options.unix, options.plaintext)
        self.gate = options.gate
        """How much is let in; the server tells it how many processes share it."""
        self._gated = None if self.gate is None else GatedWSGI(app, self.gate)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        connection = self.transport.connection_of(environ)
        head = _head(environ)
        refusal = self._admission.refusal(head, connection)
        if refusal is not None:
            peer = connection.identity if connection else None
            log_refusal(refusal, environ["REQUEST_METHOD"], head, peer)
            options = self._options
            options.listener.request_refused(options.service, "admission", refusal.status)
            self.transport.close_after(environ)
            return _refuse(refusal, start_response)
        if head.target == HEALTH_PATH:
            status, body = health_page(self._options, self.stages, connection)
            self._end_connection(environ)
            return _answer(start_response, status, body, HEADERS)
        assert connection is not None  # noqa: S101 - admitted, so it is one of ours
        return self._serve(environ, start_response, connection, head.target)

    def _serve(
        self,
        environ: Environ,
        start_response: StartResponse,
        connection: Connection,
        target: str,
    ) -> Iterable[bytes]:
        context = context_of(self._options, _carried(environ), edge=connection.peer is None)
        priority = parse_priority(environ.get(_PRIORITY))
        _remove_claims(environ)
        environ["mesh.peer"] = connection.identity
        environ["mesh.edge"] = connection.edge
        environ["mesh.priority"] = ORDINARY if connection.identity is None else priority
        inbound = _inbound(environ, connection, target, continued=continues(context))
        claims, denied = self._authorized(connection, inbound)
        environ["mesh.claims"] = dict(claims)
        visit = Visit(self._options, inbound, context)

        def start(
            status: str, headers: list[tuple[str, str]], *args: Any
        ) -> Callable[[bytes], object]:
            extra = visit.begin_answer(int(status[:3]))
            self._end_connection(environ)
            return start_response(status, _with(headers, extra) if extra else headers, *args)

        try:
            app = denied or (_too_late if visit.too_late() else self._gated or self.app)
            result = app(environ, start)
        except BaseException as error:
            visit.end(error)
            raise
        return _watched(result, visit, environ)

    def _authorized(
        self, connection: Connection, inbound: Inbound
    ) -> tuple[Claims, WSGIApp | None]:
        """What tokens say, and what answers if the application is not to be asked."""
        header = inbound.headers.get
        claims, refusal = authorized(self._options, connection, inbound, header)
        return claims, None if refusal is None else partial(_deny, refusal)

    def _end_connection(self, environ: Environ) -> None:
        # asked when the answer begins: the drain may have begun while the application worked
        if self.stages.closing:
            self.transport.close_after(environ)


class _Body:
    """The application's iterable, ending its visit when the server closes it."""

    __slots__ = ("_error", "_result", "_visit")

    def __init__(self, result: Iterable[bytes], visit: Visit) -> None:
        self._result = result
        self._visit: Visit | None = visit
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        visit = self._visit
        try:
            yield from self._result
        except GeneratorExit:
            raise  # the server stopped reading; `close` tells the rest
        except BaseException as error:
            self._error = error
            raise
        if visit is not None:
            visit.complete()

    def close(self) -> None:
        """Close what the application returned, and end the visit, whatever happened."""
        visit, self._visit = self._visit, None
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            if visit is not None:
                visit.gone = visit.seconds < 0 and self._error is None
                visit.end(self._error)


def _watched(result: Iterable[bytes], visit: Visit, environ: Environ) -> Iterable[bytes]:
    body = _Body(result, visit)
    wrapper = environ.get("wsgi.file_wrapper")
    if not (isinstance(wrapper, type) and isinstance(result, wrapper)):
        return body
    # a server recognises its own file wrapper by its class: hand on the very object
    close = getattr(result, "close", None)

    def closed() -> None:
        result.close = close  # type: ignore[attr-defined]
        visit.complete()
        body.close()

    result.close = closed  # type: ignore[attr-defined]
    return result


class _Headers(Mapping[str, str]):
    """The headers in an environ, by lower-case name."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        key = name.upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        value: str = self._environ[key]
        return value

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key.startswith("HTTP_"):
                yield key[5:].replace("_", "-").lower()
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if key in self._environ:
                yield key.replace("_", "-").lower()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _head(environ: Environ) -> Head:
    # servers join repeated headers with a comma, which no Host and no length contains
    return Head(
        environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        _target(environ),
        _count(environ, "HTTP_HOST"),
        _count(environ, "CONTENT_LENGTH"),
        1 if environ.get("HTTP_TRANSFER_ENCODING") else 0,
        environ.get("HTTP_TRANSFER_ENCODING") or "chunked",
    )


def _count(environ: Environ, key: str) -> int:
    value = environ.get(key)
    return str(value).count(",") + 1 if value else 0


def _target(environ: Environ) -> str:
    raw: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return raw.partition("?")[0]
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(path.encode("latin-1"))


def _remove_claims(environ: Environ) -> None:
    suspects = [key for key in environ if key.startswith("HTTP_X_")]
    for key in suspects:
        if claims_identity(key[5:]):
            del environ[key]


def _inbound(environ: Environ, connection: Connection, target: str, *, continued: bool) -> Inbound:
    return Inbound(
        environ["REQUEST_METHOD"],
        target,
        _Headers(environ),
        connection.identity,
        (environ.get("REMOTE_ADDR", ""), int(environ.get("REMOTE_PORT") or 0)),
        connection.edge,
        connection.plaintext,
        continued,
    )


def _carried(environ: Environ) -> dict[str, str]:
    return {name: environ[key] for key, name in _CARRIED if key in environ}


def _with(
    headers: Iterable[tuple[str, str]], extra: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """`extra` in place of those of the same name that an application may have handed on."""
    ours = dict(extra)
    return [*((name, value) for name, value in headers if name.lower() not in ours), *ours.items()]


def _too_late(_: Environ, start_response: StartResponse) -> list[bytes]:
    """What answers in place of the application when nobody waits for it."""
    headers = (("content-type", "text/plain; charset=utf-8"),)
    return _answer(start_response, 504, f"{TOO_LATE}\n".encode(), headers)


def _deny(refusal: Refusal, _: Environ, start_response: StartResponse) -> list[bytes]:
    return _refuse(refusal, start_response)


def _refuse(refusal: Refusal, start_response: StartResponse) -> list[bytes]:
    body = f"{refusal.reason}\n".encode()
    headers = (("content-type", "text/plain; charset=utf-8"), *refusal.headers)
    return _answer(start_response, refusal.status, body, headers)


def _answer(
    start_response: StartResponse, status: int, body: bytes, headers: Iterable[tuple[str, str]]
) -> list[bytes]:
    line = f"{status} {HTTPStatus(status).phrase}"
    start_response(line, [*headers, ("content-length", str(len(body)))])
    return [body]
