"""What the mesh's policies do for RPCs."""

from __future__ import annotations

import threading
from collections import Counter

import grpc
import pytest

from meshlib.config import UpstreamConfig
from meshlib.config.retry import HedgeConfig
from meshlib.errors import PeerNotTrusted
from meshlib.model import Endpoint
from meshlib.policy.adaptive import Latencies
from meshlib.runtime import real_clock

PATIENCE = 20.0
MAY_BE_REPEATED = (("idempotency-key", "1"),)


@pytest.fixture
def failing_once(status):
    """`failing_once(code, *trailing)`: an answer that is the code first, then well."""

    def made(code, *trailing):
        turn = iter([status(code, *trailing)])

        def answer(request, context):
            return next(turn, lambda *_: b"well")(request, context)

        return answer

    return made


def test_rpcs_are_balanced_one_by_one(serve, shop, face):
    """Three endpoints share the RPCs of one channel."""
    shop.bind(*(serve() for _ in range(3)))
    names = Counter(face.call("Name", b"") for _ in range(30))
    assert 3 == len(names)


def test_an_endpoint_that_is_dead_is_another_ones_turn(serve, shop, face):
    """What was never sent goes elsewhere, whatever the method."""
    server = serve()
    dead = serve()
    dead.grpc.stop(0).wait(PATIENCE)
    shop.bind(dead, server)
    assert [b"x"] * 6 == [face.call("Echo", b"x") for _ in range(6)]


@pytest.mark.parametrize("consent", [True, False])
def test_a_code_is_retried_with_consent(serve, shop, face, consent, failing_once):
    """UNAVAILABLE of a server may have been carried out: it takes `non_idempotent` to repeat it."""
    server = serve()
    server.answer = failing_once(grpc.StatusCode.UNAVAILABLE)
    shop.bind(server)
    shop.retry(on=("unavailable",), non_idempotent=consent)
    if consent:
        assert b"well" == face.call("Play", b"")
    else:
        with pytest.raises(grpc.RpcError):
            face.call("Play", b"")


def test_an_rpc_that_may_be_repeated_says_so(serve, shop, face, failing_once):
    """The metadata `idempotency-key` is consent for one RPC."""
    server = serve()
    server.answer = failing_once(grpc.StatusCode.UNAVAILABLE)
    shop.bind(server)
    shop.retry(on=("unavailable",))
    assert b"well" == face.call("Play", b"", metadata=MAY_BE_REPEATED)


def test_a_code_that_blames_the_caller_is_not(serve, shop, face, status):
    """NOT_FOUND is an answer: nothing is tried again, nobody is blamed."""
    server = serve()
    server.answer = status(grpc.StatusCode.NOT_FOUND)
    shop.bind(server)
    shop.retry(on=("unavailable", "5xx"), non_idempotent=True)
    for _ in range(5):
        with pytest.raises(grpc.RpcError):
            face.call("Play", b"")
    assert 5 == len(server.metadata)


def test_pushback_is_heeded(serve, shop, face, failing_once):
    """A negative `grpc-retry-pushback-ms` means never (gRPC A6)."""
    server = serve()
    server.answer = failing_once(grpc.StatusCode.UNAVAILABLE, ("grpc-retry-pushback-ms", "-1"))
    shop.bind(server)
    shop.retry(on=("unavailable",), non_idempotent=True)
    with pytest.raises(grpc.RpcError):
        face.call("Play", b"")
    assert 1 == len(server.metadata)


def test_a_request_stream_is_sent_again(serve, shop, face):
    """What was read of it is recorded until there is an answer."""
    server = serve()
    dead = serve()
    dead.grpc.stop(0).wait(PATIENCE)
    shop.bind(dead, server)
    for _ in range(4):
        assert b"a+b" == face.call("Join", iter([b"a", b"b"]), "stream_unary")


def test_an_ambient_deadline_bounds_an_rpc(serve, shop, face):
    """The server's deadline is that of the policy when the user names none."""
    server = serve()
    shop.bind(server)
    shop.config.set(UpstreamConfig(timeout=5.0))
    face.call("Echo", b"")
    assert 0 < server.left[0] <= 5.0


def test_somebody_else_is_refused(ca, serve, shop, face):
    """A peer with a valid certificate of another service hears no RPC."""
    stranger = serve(ca.credentials("other"))
    shop.bind(stranger)
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Echo", b"secret")
    assert isinstance(caught.value, PeerNotTrusted)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    assert [] == stranger.metadata


def test_no_connection_is_an_error_that_says_so(shop, face):
    """The endpoint is named."""
    shop.bind(Endpoint("nobody", "127.0.0.1", 1))
    shop.retry(attempts=1)
    with pytest.raises(grpc.RpcError, match=r"no connection to nobody@127\.0\.0\.1:1"):
        face.call("Echo", b"")


@pytest.fixture
def hedged(shop, face):
    """`hedged(*members)`: idempotent RPCs to them get company after 0.2 s."""

    def bind(*members):
        shop.bind(*members)
        hedge = HedgeConfig(enabled=True, share=0.05, least=0.2)
        shop.config.set(UpstreamConfig(balancer="round_robin", hedge=hedge))
        latencies: Latencies = shop.parts.destination("shop").latencies
        for _ in range(200):
            latencies.observe(0.001, real_clock())
        for _ in range(60):
            face.call("Name", b"")

    return bind


def test_a_slow_rpc_gets_company(serve, face, hedged):
    """The answer of the faster one is taken; the slower one is cancelled, and nobody blamed."""
    slow, fast, gone = serve(), serve(), threading.Semaphore(0)

    def late(request, context):
        ended = threading.Event()
        if context.add_callback(ended.set):
            ended.wait(PATIENCE)
        gone.release()
        return b"late"

    slow.answer = late
    fast.answer = lambda request, context: b"fast"
    hedged(slow, fast)
    for _ in range(2):
        assert b"fast" == face.call("Play", b"", metadata=MAY_BE_REPEATED)
    assert gone.acquire(timeout=PATIENCE)


def test_company_that_fails_is_no_answer(serve, face, hedged, status):
    """The call comes to what it would have come to alone."""
    slow, bad = serve(), serve()
    failed = threading.Event()

    def fails(request, context):
        failed.set()
        status(grpc.StatusCode.UNAVAILABLE)(request, context)

    slow.answer = lambda request, context: failed.wait(PATIENCE) and b"slow"
    bad.answer = fails
    hedged(slow, bad)
    answers = [face.begin("Play", b"", metadata=MAY_BE_REPEATED) for _ in range(2)]
    assert b"slow" in [answer_of(face, call) for call in answers]


def answer_of(face, call):
    """The message of a call, or the code of its error."""

    async def awaited():
        return await call

    try:
        return call.result(PATIENCE) if face.kind == "sync" else face.run(awaited())
    except grpc.RpcError as exc:
        return exc.code()


def test_rpcs_that_are_answered_in_time_are_alone(serve, shop, face, hedged):
    """Nor has one company that may not be repeated, or whose answers are many."""
    server = serve()
    server.answer = lambda request, context: threading.Event().wait(0.4) or b"late"
    hedged(server)
    asked = len(server.metadata)
    assert b"x" == face.call("Echo", b"x", metadata=MAY_BE_REPEATED)
    assert b"late" == face.call("Play", b"")
    assert [b"0"] == face.call("Many", b"1", "unary_stream", metadata=MAY_BE_REPEATED)
    assert asked + 3 == len(server.metadata)


def test_cancelling_ends_the_company_too(serve, face, hedged):
    """Whoever wants an RPC no more wants neither attempt."""
    both = serve(), serve()
    for server in both:
        server.answer = server.hold
    hedged(*both)
    call = face.begin("Play", b"", metadata=MAY_BE_REPEATED)
    for server in both:
        assert server.holds.wait(PATIENCE)
    if face.kind == "sync":
        assert call.cancel()
    else:
        face.loop.call_soon_threadsafe(call.cancel)
    for server in both:
        assert server.gone.wait(PATIENCE)
