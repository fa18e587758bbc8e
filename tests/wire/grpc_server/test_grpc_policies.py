"""An RPC passes what a request passes: intentions, tokens, limits, tracing."""

from __future__ import annotations

import random
import threading
import time

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from meshlib.config import (
    ConcurrencyConfig,
    JwtConfig,
    JwtProviderConfig,
    QuotaConfig,
    RatesConfig,
    ServingConfig,
)
from meshlib.observe.otel import OtelTracer
from meshlib.observe.quiet import Quiet
from meshlib.route.match import PathTest
from meshlib.route.text import How, Named, Text
from meshlib.runtime import real_clock
from meshlib.serve.authorize import Authorization
from meshlib.serve.limits import Gate
from meshlib.serve.options import Edge
from meshlib.serve.tokens import Tokens
from meshlib.testing.issuer import AUDIENCE, ISSUER, Issuer
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.keyset import read_keys
from meshlib.trust.permission import Permission
from meshlib.watch import Watch

PATIENCE = 20.0
WORLDS = ["threads", "loop", "loop-built", "loop-threads"]
SAY = Permission(True, PathTest(Text(How.EXACT, "/t.Echo/Say")), methods=frozenset({"POST"}))
GOLD = Permission(True, headers=(Named("x-tier", Text(How.EXACT, "gold")),))


@pytest.fixture(params=WORLDS)
def world(request):
    return request.param


class Denials(Quiet):
    def __init__(self):
        self.heard = []

    def request_denied(self, service, inbound, rule, *, enforced):
        self.heard.append((inbound.caller, inbound.path, enforced))


@pytest.fixture
def backing(ca):
    return Watch(ca.credentials("backend", dns=["backend.example"]), ready=True)


@pytest.fixture
def guarded(serve, backing):
    """Serve with intentions: `guarded(world, rules, mode)`."""

    def serving(world, rules, mode="enforce", **more):
        intentions = Watch(IntentionSet("backend", rules, allow=False), ready=True)
        config, denials = Watch(ServingConfig(authorization=mode), ready=True), Denials()
        guard = Authorization("backend", intentions, config, backing, denials)
        return serve(world, credentials=backing, authorization=guard, **more), denials

    return serving


def test_intentions_look_at_caller_and_method(guarded, world, call):
    """A caller may call what an intention lets him, and nothing else; nobody else may."""
    serving, denials = guarded(world, (Intention("frontend", "backend", permissions=(SAY,)),))
    with serving as backend:
        assert "frontend" == call(backend).say()["peer"]
        assert grpc.StatusCode.PERMISSION_DENIED == call(backend).fails("Fail").code()
        assert grpc.StatusCode.PERMISSION_DENIED == call(backend, "other").fails().code()
        assert [b"hello"] == backend.app.calls
        assert [("frontend", "/t.Echo/Fail", True), ("other", "/t.Echo/Say", True)] == denials.heard
        assert [200, 403, 403] == [status for _, status in backend.recorder.wait_served(3)]


def test_intentions_look_at_metadata(guarded, world, call):
    """Metadata is what headers are."""
    serving, _ = guarded(world, (Intention("frontend", "backend", permissions=(GOLD,)),))
    with serving as backend:
        assert "frontend" == call(backend).say(metadata=[("x-tier", "gold")])["peer"]
        assert grpc.StatusCode.PERMISSION_DENIED == call(backend).fails().code()


def test_audit(guarded, world, call):
    """In audit mode denials are told and not enforced."""
    serving, denials = guarded(world, (), "audit")
    with serving as backend:
        assert "frontend" == call(backend).say()["peer"]
        assert [("frontend", "/t.Echo/Say", False)] == denials.heard


def test_streams_are_guarded(guarded, world, call):
    """Also where messages stream nothing of the application runs."""
    serving, _ = guarded(world, ())
    with serving as backend:
        channel = call(backend).channel
        calls = [
            lambda: list(channel.unary_stream("/t.Echo/Count")(b"3", timeout=PATIENCE)),
            lambda: channel.stream_unary("/t.Echo/Gather")(iter([b"a"]), timeout=PATIENCE),
            lambda: list(channel.stream_stream("/t.Echo/Chat")(iter([b"a"]), timeout=PATIENCE)),
        ]
        for each in calls:
            with pytest.raises(grpc.RpcError) as caught:
                each()
            assert grpc.StatusCode.PERMISSION_DENIED == caught.value.code()
        assert [] == backend.app.calls


# ---- limits


@pytest.fixture
def limited(serve):
    """Serve with limits: `limited(world, ServingConfig(...))`."""
    gates = []

    def serving(world, config):
        gate = Gate(
            Watch(config, ready=True),
            clock=real_clock,
            rng=random.Random(1),
            store=lambda _: None,
            instances=lambda: 1,
        )
        gates.append(gate)
        return serve(world, gate=gate)

    yield serving
    for gate in gates:
        gate.close()


def test_rate(limited, world, call):
    """Beyond its rate a caller is told so, and when to come back; another is let in."""
    rates = RatesConfig(per_caller=QuotaConfig(limit=1, per=3600))
    with limited(world, ServingConfig(rate=rates)) as backend:
        assert "frontend" == call(backend).say()["peer"]
        error = call(backend).fails()
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == error.code()
        trailing = dict(error.trailing_metadata())
        assert int(trailing["retry-after"]) * 1000 == int(trailing["grpc-retry-pushback-ms"])
        assert "other" == call(backend, "other").say()["peer"]


def test_concurrency(limited, world, call):
    """Beyond what may be served at a time an RPC is turned away, and asked not to come back."""
    with limited(world, ServingConfig(concurrency=ConcurrencyConfig(limit=1))) as backend:
        held = call(backend).channel.unary_unary("/t.Echo/Hold").future(b"", timeout=PATIENCE)
        assert backend.app.entered.acquire(timeout=PATIENCE)
        error = call(backend).fails()
        assert grpc.StatusCode.UNAVAILABLE == error.code()
        assert {("grpc-retry-pushback-ms", "-1"), ("x-mesh-retry", "no")} <= set(
            error.trailing_metadata()
        )
        backend.app.release.set()
        assert b"held" == held.result(PATIENCE)
        backend.recorder.wait_served(2)
        assert "frontend" == call(backend).say()["peer"]


# ---- tokens of end users


class Source:
    """The keys of one issuer."""

    def __init__(self):
        self.issuer = Issuer(time.time())

    def keys(self, provider):
        return Watch(read_keys(self.issuer.published()), ready=True)

    def unknown_key(self, provider): ...


def test_tokens(serve, world, call):
    """A good token's claims reach the handler; a bad one is refused."""
    provider = JwtProviderConfig(issuer=ISSUER, audiences=(AUDIENCE,), jwks_file="keys.json")
    config = ServingConfig(jwt=JwtConfig(providers={"corp": provider}, required="always"))
    source = Source()
    with serve(world, tokens=Tokens(Watch(config, ready=True), lambda: source)) as backend:
        good = [("authorization", f"Bearer {source.issuer.token()}")]
        assert "ada" == call(backend).say(metadata=good)["claims"]["corp"]["sub"]
        for metadata in ([], [("authorization", "Bearer x.y.z")]):
            error = call(backend).fails(metadata=metadata)
            assert grpc.StatusCode.UNAUTHENTICATED == error.code()
        assert [b"hello"] == backend.app.calls


# ---- the edge


def test_edge(serve, world):
    """Who comes by the edge has no identity and no say; the mesh's port stays the mesh's."""
    with serve(world, edge=Edge("127.0.0.1", 0)) as backend:
        _, port = backend.server.listening.edge
        metadata = [("x-mesh-priority", "7"), ("x-mesh-deadline-ms", "0")]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            say = channel.unary_unary("/t.Echo/Say")
            said = say(b"", timeout=PATIENCE, metadata=metadata)
        assert b'"peer": null' in said
        assert b'"edge": true' in said
        assert b'"priority": 3' in said
        with grpc.insecure_channel(f"127.0.0.1:{backend.port}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/t.Echo/Say")(b"", timeout=PATIENCE)
        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()


# ---- tracing


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield OtelTracer(provider)
    provider.shutdown()


def test_trace(serve, world, call, tracer, spans):
    """The caller's trace goes on in the handler, in a span that is current there."""
    with serve(world, tracer=tracer) as backend:
        seen = []
        backend.app.during = lambda: seen.append(trace.get_current_span().get_span_context())
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        call(backend).say(metadata=[("traceparent", parent)])
        call(backend).fails("Fail", b"raise")
        backend.recorder.wait_served(2)
        served, failed = spans.get_finished_spans()
    assert 0x0AF7651916CD43DD8448EB211C80319C == served.context.trace_id
    assert SpanKind.SERVER == served.kind
    assert [served.context.span_id] == [each.span_id for each in seen]
    assert [("t.Echo/Say", "OK"), ("t.Echo/Fail", "UNKNOWN")] == [
        (span.attributes["rpc.method"], span.attributes["rpc.response.status_code"])
        for span in (served, failed)
    ]
    assert "ValueError" == failed.attributes["error.type"]


def test_codes_are_traced(guarded, world, call, tracer, spans):
    """A span has the code the caller was told, by whomever; to a server few of them are errors."""
    serving, _ = guarded(world, (Intention("frontend", "backend", allow=True),), tracer=tracer)
    with serving as backend:
        for word in (b"abort", b"code"):
            call(backend).fails("Fail", word)
        call(backend, "other").fails()
        backend.recorder.wait_served(3)
    told = [span.attributes["rpc.response.status_code"] for span in spans.get_finished_spans()]
    assert ["NOT_FOUND", "OUT_OF_RANGE", "PERMISSION_DENIED"] == told
    assert all(span.status.is_ok for span in spans.get_finished_spans())


def test_streams_keep_their_context(serve, world, call, tracer, spans):
    """A stream's span is current at every step of it, and in no other RPC."""
    with serve(world, tracer=tracer) as backend:
        streams = call(backend).channel.unary_stream("/t.Echo/Count")
        assert 200 == len(list(streams(b"200", timeout=PATIENCE)))
        call(backend).say()
        backend.recorder.wait_served(2)
        assert 2 == len({span.context.trace_id for span in spans.get_finished_spans()})


def test_many_at_once(serve, world, call):
    """RPCs beside each other do not mix up who calls."""
    with serve(world) as backend:
        callers = {name: call(backend, name) for name in ("a", "b", "c", "d")}
        wrong, barrier = [], threading.Barrier(len(callers))

        def ask(name, caller):
            barrier.wait(PATIENCE)
            wrong.extend(said for _ in range(25) if (said := caller.say()["peer"]) != name)

        threads = [threading.Thread(target=ask, args=each) for each in callers.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert [] == wrong
