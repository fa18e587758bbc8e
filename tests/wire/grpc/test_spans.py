"""What is recorded of RPCs by OpenTelemetry."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from meshlib.observe.otel import OtelTracer


@pytest.fixture
def spans(shop):
    """What was recorded, oldest first."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    shop.parts = replace(shop.parts, tracer=OtelTracer(provider))
    yield exporter
    provider.shutdown()


def test_an_rpc_and_its_attempts(serve, shop, spans, face, status):
    """Each is named after the method and has the code; the trace goes on at the server."""
    server = serve()
    turns = iter([status(grpc.StatusCode.UNAVAILABLE)])

    def answer(request, context):
        return next(turns, lambda *_: b"well")(request, context)

    server.answer = answer
    shop.bind(server)
    shop.retry(on=("unavailable",), non_idempotent=True)
    assert b"well" == face.call("Play", b"")
    first, second, whole = spans.get_finished_spans()
    assert ["t.T/Play"] * 3 == [span.name for span in (first, second, whole)]
    assert ["UNAVAILABLE", "OK", "OK"] == [
        span.attributes["rpc.response.status_code"] for span in (first, second, whole)
    ]
    assert [SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.INTERNAL] == [
        span.kind for span in (first, second, whole)
    ]
    assert "UNAVAILABLE" == first.attributes["error.type"]
    sent = [dict(said)["traceparent"].split("-")[2] for said in server.metadata]
    assert [f"{span.context.span_id:016x}" for span in (first, second)] == sent


def test_a_stream_that_has_begun(serve, shop, spans, face):
    """The span ends with the first message, when nobody knows the code yet."""
    shop.bind(serve())
    assert [b"0", b"1"] == face.call("Many", b"2", "unary_stream")
    attempt, whole = spans.get_finished_spans()
    for span in (attempt, whole):
        assert "t.T/Many" == span.attributes["rpc.method"]
        assert "rpc.response.status_code" not in span.attributes


def test_nobody_is_there(shop, spans, face):
    """The error has a name, and there was no answer that had a code."""
    shop.bind()
    with pytest.raises(grpc.RpcError):
        face.call("Echo", b"")
    (whole,) = spans.get_finished_spans()
    assert "NoEndpoint" == whole.attributes["error.type"]
    assert "rpc.response.status_code" not in whole.attributes
