"""Unary RPCs without grpcio between the caller and TLS: who reads, who waits, who is refused."""

from __future__ import annotations

import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from meshlib.adapters.grpc.direct.connection import frame
from meshlib.adapters.grpc.open_sync import open_channel
from meshlib.adapters.grpc.pump import pump
from meshlib.model import Endpoint
from meshlib.policy.stall import StallMeter
from meshlib.runtime import SyncRuntime
from meshlib.trust.tls import MeshContext
from meshlib.watch import Watch

PATIENCE = 20.0
GARBAGE = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a frame of nobody's": frame(0, 0, 4, b"x"),
    "headers that are none": frame(4, 0, 0) + frame(1, 4, 1, b"\xbe"),
    "a flood": frame(6, 0, 0, bytes(8)) * 2000,
    "nothing": b"",
}


def test_no_pump_is_needed(serve, shop, face):
    """A unary RPC has a connection of its own kind, a stream one of grpcio's."""
    shop.bind(serve())
    before = pump().relays
    assert face.call("Echo", b"x") == b"x"
    assert before == pump().relays
    face.call("Many", b"1", "unary_stream")
    assert before + 1 == pump().relays


def test_options_that_only_grpcio_understands(serve, shop):
    """Then grpcio carries unary RPCs, too."""
    shop.bind(serve())

    def over(service, engine):
        runtime = SyncRuntime(rng=random.Random(3), aside=lambda work: work.close() or False)
        return shop.parts.stack(service, engine(shop.parts), runtime, StallMeter())

    options = (("grpc.keepalive_time_ms", 60_000),)
    with open_channel(over, "shop", options, None, ()) as channel:
        before = pump().relays
        assert channel.unary_unary("/t.T/Echo")(b"x") == b"x"
        assert before + 1 == pump().relays


def test_many_threads_share_a_connection(serve, shop, sync_face):
    """Each has its own answer, though few of them read."""
    server = serve()
    peers = set()

    def play(request, context):
        peers.add(context.peer())
        return request * 2

    server.answer = play
    shop.bind(server)
    said = [f"{number};".encode() * (number % 50) for number in range(600)]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda each: sync_face.call("Play", each), said))
    assert [each * 2 for each in said] == answers
    assert len(peers) == 1


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_large_messages(serve, shop, face, size):
    """They go both ways, as the windows allow."""
    shop.bind(serve())
    message = random.Random(size).randbytes(size)
    assert message == face.call("Echo", message)


def test_large_messages_side_by_side(serve, shop, sync_face):
    """A thread that cannot send yet keeps nobody from reading."""
    shop.bind(serve())
    messages = [random.Random(seed).randbytes(1_000_000) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert messages == list(pool.map(lambda each: sync_face.call("Echo", each), messages))


def test_a_caller_that_gives_up_lets_another_one_read(serve, shop, sync_face):
    """Who waits longer has the answer, though it was not who read until now."""
    server, release = serve(), threading.Event()
    server.answer = lambda request, context: release.wait(PATIENCE) and request
    shop.bind(server)
    first = sync_face.begin("Play", b"first", timeout=0.3)
    assert server.asked.acquire(timeout=PATIENCE)
    second = sync_face.begin("Play", b"second")
    assert server.asked.acquire(timeout=PATIENCE)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is first.code()
    release.set()
    assert second.result(PATIENCE) == b"second"


def test_a_cancelled_call_is_reset(serve, shop, face):
    """The server hears of it, and others on the connection go on."""
    server = serve()
    server.answer = server.hold
    shop.bind(server)
    going = face.begin("Play", b"")
    assert server.asked.acquire(timeout=PATIENCE)
    if hasattr(face, "loop"):
        face.loop.call_soon_threadsafe(going.cancel)
    else:
        going.cancel()
    assert server.gone.wait(PATIENCE)
    assert face.call("Echo", b"x") == b"x"


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE)
def test_peers_that_speak_something_else(ca, shop, face, said):
    """A verified peer that does not keep to HTTP/2 costs a call and a connection, no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = MeshContext(
            Watch(ca.credentials("shop"), ready=True),
            server_side=True,
            authorize=lambda _: True,
            clock=time.time,
            alpn=("h2",),
        )

        def answer():
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as peer:
                peer.recv(4096)
                peer.sendall(said)

        speaker = threading.Thread(target=answer)
        speaker.start()
        port = listener.getsockname()[1]
        shop.bind(Endpoint(f"shop-{port}", "127.0.0.1", port))
        with pytest.raises(grpc.RpcError) as caught:
            face.call("Echo", b"x")
        assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
        speaker.join(PATIENCE)
