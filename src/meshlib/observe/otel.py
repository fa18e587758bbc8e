"""
OpenTelemetry spans, through its API alone.

A logical call is an INTERNAL span; each attempt is a CLIENT span beneath it, and a served request
a SERVER span.  Names and attributes are the stable HTTP semantic conventions (schema 1.44); what
they have no word for is prefixed `meshlib.`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from meshlib.errors import AttemptFailed, MeshError

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from meshlib.model import Attempt, Call
    from meshlib.observe.events import Inbound, Span

_CLIENT_ERROR, _SERVER_ERROR = 400, 500


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

    def end(self, *, status: int = 0, error: BaseException | None = None) -> None:
        span = self.span
        if span.is_recording():
            if status:
                span.set_attribute("http.response.status_code", status)
            if error is not None:
                _record(span, error)
            elif status >= self._failing:
                span.set_attribute("error.type", str(status))
                span.set_status(Status(StatusCode.ERROR))
        span.end()
        if self._token is not None:
            context.detach(self._token)


class OtelTracer:
    """A `Tracer` over a provider of OpenTelemetry's."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("meshlib")

    def call(self, call: Call) -> Span | None:
        """The logical call, however many attempts it takes."""
        return self._start(
            f"{call.method} {call.service}",
            SpanKind.INTERNAL,
            {"http.request.method": call.method, "server.address": call.service},
            failing=_CLIENT_ERROR,
        )

    def attempt(self, attempt: Attempt) -> Span:
        """One try: a CLIENT span whose context goes on the wire."""
        call, endpoint = attempt.call, attempt.endpoint
        attributes: dict[str, AttributeValue] = {
            "http.request.method": call.method,
            "server.address": call.service,
            "server.port": 443,
            "url.full": f"https://{call.service}{call.path}",
        }
        if endpoint is not None:
            attributes |= {
                "network.peer.address": endpoint.host,
                "network.peer.port": endpoint.port,
                "meshlib.endpoint.id": endpoint.id,
                "meshlib.endpoint.version": endpoint.version,
            }
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        parent = call.trace.context if isinstance(call.trace, _OtelSpan) else None
        return self._start(call.method, SpanKind.CLIENT, attributes, parent, failing=_CLIENT_ERROR)

    def serve(self, service: str, inbound: Inbound) -> Span:
        """A served request: a SERVER span, current until it ends."""
        attributes: dict[str, AttributeValue] = {
            "http.request.method": inbound.method,
            "url.path": inbound.path,
            "url.scheme": "http" if inbound.peer is None else "https",
            "server.address": service,
            "client.address": inbound.client[0],
        }
        if inbound.peer is not None:
            attributes["meshlib.peer.spiffe_id"] = inbound.peer.spiffe_id
        parent = propagate.extract(inbound.headers)
        span = self._start(
            inbound.method, SpanKind.SERVER, attributes, parent, failing=_SERVER_ERROR
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
    ) -> _OtelSpan:
        span = self._tracer.start_span(name, parent, kind, attributes)
        return _OtelSpan(span, parent, failing=failing)


def _record(span: trace.Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    what = error.what if isinstance(error, MeshError) else str(error)
    span.set_status(Status(StatusCode.ERROR, what))
    if notes := getattr(error, "__notes__", None):
        span.set_attribute("meshlib.explanation", "\n".join(notes))
    if isinstance(error, AttemptFailed):
        span.set_attribute("meshlib.sent", error.sent)
