"""
OpenTelemetry spans, through its API alone.

A logical call is an INTERNAL span; each attempt is a CLIENT span beneath it, and a served request
a SERVER span.  Names and attributes are the semantic conventions (schema 1.44): the stable ones of
HTTP, or those of RPCs for gRPC.  What they have no word for is prefixed `meshlib.`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from meshlib.errors import AttemptFailed, MeshError
from meshlib.model import GRPC, NO_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from meshlib.model import Attempt, Call
    from meshlib.observe.events import Inbound, Span

_CLIENT_ERROR, _SERVER_ERROR = 400, 500
"""Statuses from which on a span is one of an error.  Those that stand for gRPC's codes fit: to a
client all but OK are errors, to a server those that stand for 500 and more."""
_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC's codes, by number."""
_BY_NUMBER = {str(number): name for number, name in enumerate(_CODES)}


class _OtelSpan:
    """A span of ours around one of OpenTelemetry's."""

    __slots__ = ("_context", "_failing", "_token", "span")

    def __init__(self, span: trace.Span, parent: Context | None, *, failing: int) -> None:
        self.span = span
        self._context = trace.set_span_in_context(span, parent)
        self._failing = failing
        self._token: Token[Context] | None = None

    @property
    def context(self) -> Context:
        return self._context

    def enter(self) -> None:
        self._token = context.attach(self._context)

    def inject(self, headers: dict[str, str]) -> None:
        propagate.inject(headers, context=self._context)

    def end(
        self,
        *,
        status: int = 0,
        error: BaseException | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        span = self.span
        if span.is_recording():
            word = self._answered(status, headers) if status else ""
            if error is not None:
                _record(span, error)
            elif status >= self._failing:
                span.set_attribute("error.type", word)
                span.set_status(Status(StatusCode.ERROR))
        span.end()
        if self._token is not None:
            context.detach(self._token)

    def _answered(self, status: int, headers: Mapping[str, str]) -> str:
        """Write down the status; returns the word for it."""
        del headers
        self.span.set_attribute("http.response.status_code", status)
        return str(status)


class _RpcSpan(_OtelSpan):
    """One of an RPC."""

    __slots__ = ()

    def _answered(self, status: int, headers: Mapping[str, str]) -> str:
        """The code's name, if the answer has a code: a fault rule's has none."""
        code = _BY_NUMBER.get(headers.get("grpc-status", ""))
        if code is None:
            return str(status)
        self.span.set_attribute("rpc.response.status_code", code)
        return code


class OtelTracer:
    """A `Tracer` over a provider of OpenTelemetry's."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("meshlib")

    def call(self, call: Call) -> Span | None:
        """The logical call, however many attempts it takes."""
        rpc = call.protocol == GRPC
        name, attributes = _asked(call.method, call.path, rpc=rpc)
        attributes["server.address"] = call.service
        name = name if rpc else f"{name} {call.service}"
        return self._start(name, SpanKind.INTERNAL, attributes, failing=_CLIENT_ERROR, rpc=rpc)

    def attempt(self, attempt: Attempt) -> Span:
        """One try: a CLIENT span whose context goes on the wire."""
        call, endpoint = attempt.call, attempt.endpoint
        rpc = call.protocol == GRPC
        name, attributes = _asked(call.method, call.path, rpc=rpc)
        attributes |= {"server.address": call.service, "server.port": 443}
        if not rpc:
            attributes["url.full"] = f"https://{call.service}{call.path}"
        if endpoint is not None:
            attributes |= {
                "network.peer.address": endpoint.host,
                "network.peer.port": endpoint.port,
                "meshlib.endpoint.id": endpoint.id,
                "meshlib.endpoint.version": endpoint.version,
            }
        if attempt.number > 1:
            words = "meshlib.resend_count" if rpc else "http.request.resend_count"
            attributes[words] = attempt.number - 1
        parent = call.trace.context if isinstance(call.trace, _OtelSpan) else None
        return self._start(
            name, SpanKind.CLIENT, attributes, parent, failing=_CLIENT_ERROR, rpc=rpc
        )

    def serve(self, service: str, inbound: Inbound) -> Span:
        """A served request: a SERVER span, current until it ends."""
        rpc = inbound.protocol == GRPC
        name, attributes = _asked(inbound.method, inbound.path, rpc=rpc)
        attributes |= {"server.address": service, "client.address": inbound.client[0]}
        if not rpc:
            attributes["url.path"] = inbound.path
            attributes["url.scheme"] = "http" if inbound.peer is None else "https"
        if inbound.peer is not None:
            attributes["meshlib.peer.spiffe_id"] = inbound.peer.spiffe_id
        parent = propagate.extract(inbound.headers)
        span = self._start(
            name, SpanKind.SERVER, attributes, parent, failing=_SERVER_ERROR, rpc=rpc
        )
        span.enter()
        return span

    def _start(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, AttributeValue],
        parent: Context | None = None,
        *,
        failing: int,
        rpc: bool,
    ) -> _OtelSpan:
        span = self._tracer.start_span(name, parent, kind, attributes)
        made = _RpcSpan if rpc else _OtelSpan
        return made(span, parent, failing=failing)


def _asked(method: str, path: str, *, rpc: bool) -> tuple[str, dict[str, AttributeValue]]:
    """A span's name, and what is asked for; an RPC's path is "/<package>.<Service>/<Method>"."""
    if rpc:
        name = path.removeprefix("/")
        return name, {"rpc.system.name": "grpc", "rpc.method": name}
    return method, {"http.request.method": method}


def _record(span: trace.Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    what = error.what if isinstance(error, MeshError) else str(error)
    span.set_status(Status(StatusCode.ERROR, what))
    if notes := getattr(error, "__notes__", None):
        span.set_attribute("meshlib.explanation", "\n".join(notes))
    if isinstance(error, AttemptFailed):
        span.set_attribute("meshlib.sent", error.sent)
