"""Chooses the tracer: OpenTelemetry's once the application has set a provider, else none."""

from __future__ import annotations

import sys
from typing import Any

from meshlib.model import Attempt, Call
from meshlib.observe.events import Inbound, Span, Tracer
from meshlib.observe.passthrough import Passthrough

_API = "opentelemetry.trace"


class Tracing:
    """A `Tracer` that records as soon as there is something to record to.

    Whether an SDK is in place is looked up on every use until it is, as applications configure
    theirs before or after they make a mesh; an application without one never loads the API.
    """

    __slots__ = ("_recording", "_through")

    def __init__(self) -> None:
        self._through = Passthrough()
        self._recording: Tracer | None = None

    def _tracer(self) -> Tracer:
        if self._recording is None:
            trace = sys.modules.get(_API)
            self._recording = None if trace is None else _recorder(trace)
        return self._recording or self._through

    def call(self, call: Call) -> Span | None:
        """As the chosen tracer does."""
        return self._tracer().call(call)

    def attempt(self, attempt: Attempt) -> Span:
        """As the chosen tracer does."""
        return self._tracer().attempt(attempt)

    def serve(self, service: str, inbound: Inbound) -> Span:
        """As the chosen tracer does."""
        return self._tracer().serve(service, inbound)


def _recorder(trace: Any) -> Tracer | None:
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    from meshlib.observe.otel import OtelTracer

    return OtelTracer(provider)
