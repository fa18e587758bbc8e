from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from meshlib.errors import Interrupted
from meshlib.model import GRPC, Attempt, Call, Endpoint, Identity
from meshlib.observe.events import Inbound
from meshlib.observe.otel import OtelTracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = Endpoint("shop-1", "10.0.0.7", 8443, meta={"version": "v2"})


@pytest.fixture
def spans():
    """What was recorded, oldest first."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans):
    """A tracer that records."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield OtelTracer(provider)
    provider.shutdown()


def inbound(**headers):
    """A request of the frontend's."""
    peer = Identity("spiffe://mesh/ns/default/dc/local/svc/front", "front")
    return Inbound("GET", "/items", headers, peer, ("10.0.0.1", 50_000))


def attempt_of(tracer, call, number=1):
    """One try at the endpoint."""
    return tracer.attempt(Attempt(call, number, endpoint=ENDPOINT))


def test_attempts_are_children_of_the_call(tracer, spans):
    """A call with a retry is one INTERNAL span over two CLIENT spans, all of one trace."""
    call = Call("shop", path="/items")
    call.trace = tracer.call(call)
    attempt_of(tracer, call).end(status=503)
    attempt_of(tracer, call, 2).end(status=200)
    call.trace.end(status=200)
    first, second, whole = spans.get_finished_spans()
    assert (SpanKind.INTERNAL, SpanKind.CLIENT) == (whole.kind, first.kind)
    assert {whole.context.span_id} == {first.parent.span_id, second.parent.span_id}
    assert 1 == len({span.context.trace_id for span in (first, second, whole)})
    assert 1 == second.attributes["http.request.resend_count"]
    assert "http.request.resend_count" not in first.attributes


def test_the_names_are_the_stable_conventions(tracer, spans):
    """An attempt carries the stable HTTP attributes, and ours under our own prefix."""
    attempt_of(tracer, Call("shop", path="/items", query="token=secret")).end(status=404)
    (span,) = spans.get_finished_spans()
    assert {
        "http.request.method": "GET",
        "http.response.status_code": 404,
        "error.type": "404",
        "server.address": "shop",
        "server.port": 443,
        "url.full": "https://shop/items",
        "network.peer.address": "10.0.0.7",
        "network.peer.port": 8443,
        "meshlib.endpoint.id": "shop-1",
        "meshlib.endpoint.version": "v2",
    } == dict(span.attributes)
    assert StatusCode.ERROR is span.status.status_code


def test_an_rpc_has_the_conventions_of_rpcs(tracer, spans):
    """Spans are named after the method, and say nothing of HTTP, of which it is made."""
    call = Call("shop", "POST", "/acme.Shop/Buy", protocol=GRPC)
    call.trace = tracer.call(call)
    attempt_of(tracer, call, 2).end(status=404, headers={"grpc-status": "5"})
    call.trace.end(status=404, headers={"grpc-status": "5"})
    attempt, whole = spans.get_finished_spans()
    said = {
        "rpc.system.name": "grpc",
        "rpc.method": "acme.Shop/Buy",
        "rpc.response.status_code": "NOT_FOUND",
        "error.type": "NOT_FOUND",
        "server.address": "shop",
    }
    assert ["acme.Shop/Buy"] * 2 == [attempt.name, whole.name]
    assert said == dict(whole.attributes)
    assert {
        **said,
        "server.port": 443,
        "network.peer.address": "10.0.0.7",
        "network.peer.port": 8443,
        "meshlib.endpoint.id": "shop-1",
        "meshlib.endpoint.version": "v2",
        "meshlib.resend_count": 1,
    } == dict(attempt.attributes)
    assert StatusCode.ERROR is attempt.status.status_code


@pytest.mark.parametrize(
    ("status", "number", "word", "failed"),
    [
        (200, "0", "OK", False),
        (404, "5", "NOT_FOUND", False),
        (499, "1", "CANCELLED", False),
        (500, "15", "DATA_LOSS", True),
        (501, "12", "UNIMPLEMENTED", True),
        (503, "14", "UNAVAILABLE", True),
    ],
)
def test_a_served_rpc(tracer, spans, status, number, word, failed):
    """What a caller did wrong is not the server's error (semantic conventions of gRPC)."""
    asked = inbound()._replace(method="POST", path="/acme.Shop/Buy", protocol=GRPC)
    tracer.serve("shop", asked).end(status=status, headers={"grpc-status": number})
    (span,) = spans.get_finished_spans()
    assert ("acme.Shop/Buy", SpanKind.SERVER) == (span.name, span.kind)
    assert word == span.attributes["rpc.response.status_code"]
    assert failed == (span.status.status_code is StatusCode.ERROR)
    assert not [key for key in span.attributes if key.startswith(("http.", "url."))]


@pytest.mark.parametrize("headers", [{}, {"grpc-status": "99"}, {"grpc-status": "x"}])
def test_an_rpc_without_a_code(tracer, spans, headers):
    """An answer of the mesh's own has none: the error is the status."""
    attempt_of(tracer, Call("shop", protocol=GRPC)).end(status=503, headers=headers)
    (span,) = spans.get_finished_spans()
    assert "503" == span.attributes["error.type"]
    assert "rpc.response.status_code" not in span.attributes


def test_an_error_says_what_and_whether_it_was_sent(tracer, spans):
    """A broken attempt names its error and whether the peer may have seen it."""
    attempt_of(tracer, Call("shop")).end(error=Interrupted("broke off"))
    (span,) = spans.get_finished_spans()
    assert ("Interrupted", True) == (
        span.attributes["error.type"],
        span.attributes["meshlib.sent"],
    )
    assert "broke off" == span.status.description


def test_a_served_request_continues_the_trace(tracer, spans):
    """A SERVER span is the child of what came in, and the parent of the calls made meanwhile."""
    serving = tracer.serve("shop", inbound(traceparent=PARENT))
    call = Call("stock")
    call.trace = tracer.call(call)
    headers: dict[str, str] = {}
    attempt = attempt_of(tracer, call)
    attempt.inject(headers)
    attempt.end(status=200)
    call.trace.end(status=200)
    serving.end(status=200)
    sent, whole, served = spans.get_finished_spans()
    assert SpanKind.SERVER is served.kind
    assert "b7ad6b7169203331" == f"{served.parent.span_id:016x}"
    assert served.context.span_id == whole.parent.span_id
    assert (
        f"00-0af7651916cd43dd8448eb211c80319c-{sent.context.span_id:016x}-01"
        == (headers["traceparent"])
    )
    assert served.attributes["meshlib.peer.spiffe_id"].endswith("/svc/front")


@pytest.mark.parametrize(("status", "failed"), [(404, False), (500, True)])
def test_a_server_fails_from_500_on(tracer, spans, status, failed):
    """A 404 is the client's error: the server's span is not one."""
    tracer.serve("shop", inbound()).end(status=status)
    (span,) = spans.get_finished_spans()
    assert failed == (span.status.status_code is StatusCode.ERROR)


def test_after_the_request_its_context_is_gone(tracer, spans):
    """Calls made after a request was served do not belong to its trace."""
    tracer.serve("shop", inbound(traceparent=PARENT)).end(status=200)
    tracer.call(Call("stock")).end(status=200)
    served, later = spans.get_finished_spans()
    assert served.context.trace_id != later.context.trace_id


def test_baggage_goes_on_to_every_service(tracer):
    """What the request being served brought along is put on the attempts made for it."""
    span = tracer.serve("front", inbound(traceparent=PARENT, baggage="user=42,tier=gold"))
    headers = {}
    call = Call("shop", path="/items")
    call.trace = tracer.call(call)
    attempt_of(tracer, call).inject(headers)
    span.end(status=200)
    assert {"user=42", "tier=gold"} == set(headers["baggage"].split(","))
    assert PARENT.split("-")[1] == headers["traceparent"].split("-")[1]
    later = {}
    attempt_of(tracer, Call("shop")).inject(later)
    assert "baggage" not in later
