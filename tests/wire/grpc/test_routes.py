"""What routes do to RPCs is what callers and servers see."""

from __future__ import annotations

import time

import grpc
import pytest

from meshlib.config import RetryConfig
from meshlib.config.routes import AnswerConfig, FallbackConfig, FaultConfig, MirrorConfig
from meshlib.model import Target
from meshlib.route.answer import Direct
from meshlib.route.headers import HeaderChanges
from meshlib.route.rewrite import PrefixRewrite
from meshlib.route.rules import Rules
from meshlib.route.split import whole
from meshlib.route.table import Route, RouteTable, single

PATIENCE = 20.0


@pytest.fixture
def route(shop):
    """`route(**rules)`: have every RPC taken by a route with these rules."""
    table = shop.parts.destination("shop").table
    return lambda **rules: table.set(single(whole(Target("shop")), Rules(**rules)))


def fails(face, *said, **how):
    """The error of an RPC that must have one."""
    with pytest.raises(grpc.RpcError) as caught:
        face.call(*said, **how)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, grpc.StatusCode.UNAVAILABLE),
        (429, grpc.StatusCode.UNAVAILABLE),
        (403, grpc.StatusCode.PERMISSION_DENIED),
        (404, grpc.StatusCode.UNIMPLEMENTED),
        (418, grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_fault_is_the_code_of_its_status(serve, shop, face, route, status, code):
    """By gRPC's own table; nothing is sent, and streams suffer as well."""
    server = serve()
    shop.bind(server)
    route(fault=FaultConfig(abort=status))
    error = fails(face, "Echo", b"x")
    assert (code, "injected by a fault rule") == (error.code(), error.details())
    assert code is fails(face, "Many", b"1", "unary_stream").code()
    assert code is fails(face, "Join", iter([b"a"]), "stream_unary").code()
    assert [] == server.metadata


def test_a_delay_comes_before_the_call(serve, shop, face, route):
    """It is part of the time the caller gave, which the server hears of."""
    server = serve()
    shop.bind(server)
    route(fault=FaultConfig(delay=0.2))
    began = time.monotonic()
    assert b"x" == face.call("Echo", b"x", timeout=PATIENCE)
    assert time.monotonic() - began >= 0.2
    assert server.left[0] <= PATIENCE - 0.2


def test_a_delay_that_takes_all_the_time(serve, shop, face, route):
    """It ends with the deadline, and nothing is sent."""
    server = serve()
    shop.bind(server)
    route(fault=FaultConfig(delay=60.0))
    error = fails(face, "Echo", b"x", timeout=0.1)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is error.code()
    assert "held up by a fault rule" in error.details()
    assert [] == server.metadata


def test_trouble_that_a_call_brings(serve, shop, face, route):
    """Metadata asks for it, where the rule says so."""
    server = serve()
    shop.bind(server)
    route(fault=FaultConfig(from_headers=True))
    error = fails(face, "Echo", b"x", metadata=(("x-mesh-fault-abort", "503"),))
    assert grpc.StatusCode.UNAVAILABLE is error.code()
    assert b"x" == face.call("Echo", b"x")


def test_a_fallback_stands_in_for_nobody(shop, face, route):
    """A status that is well makes its body the message; the code may be said."""
    shop.bind()
    route(fallback=FallbackConfig(status=200, body="instead"))
    assert b"instead" == face.call("Echo", b"x")
    assert [b"instead"] == face.call("Many", b"1", "unary_stream")
    route(fallback=FallbackConfig(status=200, body="none", headers={"grpc-status": "5"}))
    error = fails(face, "Echo", b"x")
    assert (grpc.StatusCode.NOT_FOUND, "none") == (error.code(), error.details())


def test_an_answer_of_the_mesh(shop, face, route):
    """Its headers are metadata, its message `grpc-message` where that is said."""
    shop.bind()
    said = {"grpc-status": "7", "grpc-message": "closed", "x-why": "holiday"}
    route(answer=Direct(AnswerConfig(status=200, headers=said)))
    error = fails(face, "Echo", b"x")
    assert (grpc.StatusCode.PERMISSION_DENIED, "closed") == (error.code(), error.details())
    assert ("x-why", "holiday") in [tuple(pair) for pair in error.trailing_metadata()]


def test_metadata_is_changed_on_the_way(serve, shop, face, route):
    """What a route adds, replaces and takes away is what the server and the caller see."""
    server = serve()
    shop.bind(server)
    route(
        request=HeaderChanges(add=(("k", "added"),), set=(("s", "set"),), remove=("gone",)),
        response=HeaderChanges(set=(("x-back", "1"),)),
    )
    given = (("k", "given"), ("s", "given"), ("gone", "1"), ("b-bin", b"\x00\xff"))
    face.call("Echo", b"x", metadata=given)
    seen = [pair for pair in server.metadata[0] if pair[0] in {"k", "s", "gone", "b-bin"}]
    assert [("b-bin", b"\x00\xff"), ("k", "given"), ("k", "added"), ("s", "set")] == sorted(
        seen, key=lambda pair: pair[0]
    )
    assert ("x-back", "1") in said_before(face, face.begin("Echo", b"x"))


def said_before(face, call):
    """The initial metadata of a call that is over."""
    if face.kind == "sync":
        return [tuple(pair) for pair in call.initial_metadata()]

    async def over():
        await call
        return await call.initial_metadata()

    return [tuple(pair) for pair in face.run(over())]


def test_the_method_is_rewritten(serve, shop, face, route):
    """A prefix of the path leads to another service of the server's."""
    shop.bind(serve())
    route(rewrite=PrefixRewrite(len("/t.T"), "/other.T"))
    assert b"x" == face.call("Echo", b"x")


def test_rpcs_are_routed_by_metadata_and_method(serve, shop, face):
    """A route looks at both, and to each RPC alone."""
    server = serve()
    shop.bind(server)
    shop.parts.destination("shop").table.set(
        RouteTable(
            (
                Route(
                    "beta",
                    whole(Target("shop")),
                    match=lambda call: call.headers.get("tier") == "beta",
                    rules=Rules(request=HeaderChanges(set=(("to", "beta"),))),
                ),
                Route(
                    "echo",
                    whole(Target("shop")),
                    match=lambda call: call.path == "/t.T/Echo" and call.method == "POST",
                    rules=Rules(request=HeaderChanges(set=(("to", "echo"),))),
                ),
                Route("default", whole(Target("shop"))),
            )
        )
    )
    face.call("Echo", b"")
    face.call("Echo", b"", metadata=(("tier", "beta"),))
    face.call("Name", b"")
    assert ["echo", "beta", None] == [dict(said).get("to") for said in server.metadata]


def test_a_route_has_a_time_of_its_own(serve, shop, face, route):
    """It is the deadline, unless the caller names one."""
    server = serve()
    shop.bind(server)
    route(timeout=3.0)
    face.call("Echo", b"")
    face.call("Echo", b"", timeout=PATIENCE)
    assert server.left[0] <= 3.0 < server.left[1]


def test_a_route_that_tries_again(serve, shop, face, route, status):
    """Its own retries stand in place of the service's."""
    server = serve()
    turns = iter([status(grpc.StatusCode.UNAVAILABLE)])

    def answer(request, context):
        return next(turns, lambda *_: b"well")(request, context)

    server.answer = answer
    shop.bind(server)
    route(retry=RetryConfig(on=("unavailable",), non_idempotent=True))
    assert b"well" == face.call("Play", b"")


def test_an_rpc_is_mirrored(serve, shop, face, route):
    """A copy arrives elsewhere, marked; the caller hears nothing of what it comes to."""
    server = serve()
    server.answer = lambda request, context: (
        context.abort(grpc.StatusCode.INTERNAL, "shadow") if is_copy(context) else b"well"
    )
    shop.bind(server)
    route(mirrors=(MirrorConfig(service="shop", methods=("POST",)),))
    assert b"well" == face.call("Play", b"said", metadata=(("k", "1"), ("b-bin", b"\xff")))
    for _ in range(2):
        assert server.asked.acquire(timeout=PATIENCE)
    copies = [said for said in server.metadata if ("x-mesh-mirror", "1") in said]
    assert 1 == len(copies)
    assert {("k", "1"), ("b-bin", b"\xff")} <= set(copies[0])


def is_copy(context):
    """Whether an RPC is the copy of one."""
    return ("x-mesh-mirror", "1") in [tuple(pair) for pair in context.invocation_metadata()]


def test_streams_are_not_mirrored(serve, shop, face, route):
    """Their requests, or answers, are not all there: the call alone is made."""
    server = serve()
    shop.bind(server)
    route(mirrors=(MirrorConfig(service="shop", methods=("POST",)),))
    assert b"a+b" == face.call("Join", iter([b"a", b"b"]), "stream_unary")
    assert [b"0"] == face.call("Many", b"1", "unary_stream")
    assert 2 == len(server.metadata)
