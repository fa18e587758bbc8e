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
    if consent or hasattr(face, "loop"):  # there Play is said to be idempotent
        assert b"well" == face.call("Play", b"")
    else:
        with pytest.raises(grpc.RpcError):
            face.call("Play", b"")


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


def test_a_slow_rpc_gets_company(serve, shop, aio_face):
    """An idempotent unary RPC is hedged; the answer of the faster one is taken."""
    slow, fast = serve(), serve()
    free = threading.Event()
    slow.answer = lambda request, context: free.wait(PATIENCE) and b"slow"
    fast.answer = lambda request, context: b"fast"
    shop.bind(slow, fast)
    shop.config.set(
        UpstreamConfig(
            balancer="round_robin", hedge=HedgeConfig(enabled=True, share=0.05, least=0.2)
        )
    )
    latencies: Latencies = shop.parts.destination("shop").latencies
    for _ in range(200):
        latencies.observe(0.001, real_clock())
    for _ in range(40):
        aio_face.call("Name", b"")
    assert b"fast" == aio_face.call("Play", b"")
    assert b"fast" == aio_face.call("Play", b"")
    free.set()
