"""The connections beneath: rotation, goodbyes, forks, and who may use the pump's sockets."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from meshlib.adapters.grpc.pump import pump
from meshlib.config import UpstreamConfig
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.tls import MeshContext, allow_ids
from meshlib.watch import Watch

PATIENCE = 20.0


def settled(count):
    """Wait until the pump has no more relays than `count`: each leaves on the pump's own thread."""
    beside = threading.Event()
    for _ in range(2000):
        if pump().relays <= count:
            return True
        beside.wait(0.005)
    return False


def test_rotation_under_load_has_no_errors(ca, serve, shop, face):
    """Both sides rotate again and again while RPCs go on; every one of them succeeds."""
    theirs = Watch(ca.credentials("shop"), ready=True)
    shop.bind(serve(watch=theirs))
    for generation in range(2, 10):
        theirs.set(ca.credentials("shop", generation=generation))
        shop.credentials.set(ca.credentials("front", generation=generation))
        assert [b"x"] * 10 == [face.call("Echo", b"x") for _ in range(10)]


def test_a_root_that_is_gone_is_trusted_no_more(ca, serve, shop, face):
    """The line of the old generation is left at once, and the new one refuses the peer."""
    shop.bind(serve())
    assert b"x" == face.call("Echo", b"x")
    other = ThrowawayCA("mesh.test", now=time.time())
    alone = replace(other.credentials("front"), generation=2)
    shop.credentials.set(alone)
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Echo", b"x")
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_a_stream_that_breaks_off(serve, shop, face):
    """Messages come first, then an error of both kinds: grpcio's and ours."""
    server = serve()
    server.answer = lambda request, context: server.grpc.stop(0) and server.hold(request, context)
    shop.bind(server)
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Many", b"2", "unary_stream")
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert sum(state.pending for state in shop.upstream.states()) == 0


def test_a_stream_ends_with_the_trust_in_its_peer(ca, serve, shop, sync_face):
    """When the root that vouched for a peer is gone, the next call ends the streams with it."""
    server = serve()
    server.answer = lambda request, context: server.gone.wait(PATIENCE)
    shop.bind(server)
    stream = sync_face.channel.unary_stream("/t.T/Many")(b"1")
    assert b"0" == next(stream)
    other = ThrowawayCA("mesh.test", now=time.time())
    shop.credentials.set(replace(other.credentials("front"), generation=2))
    with pytest.raises(grpc.RpcError):
        sync_face.call("Echo", b"x")
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    server.gone.set()


def test_a_server_that_restarts_is_found_again(serve, shop, face):
    """A connection that the server closed is replaced; who may be repeated sees nothing of it."""
    server = serve()
    shop.bind(server)
    name = server.endpoint.id.encode()
    assert name == face.call("Name", b"")
    server.grpc.stop(0).wait(PATIENCE)
    serve(port=server.endpoint.port)
    assert name == face.call("Name", b"")


def test_goodbyes_cost_no_call(serve, shop, face):
    """A server that ends every connection after some milliseconds loses nobody an RPC."""
    server = serve(
        options=[("grpc.max_connection_age_ms", 20), ("grpc.max_connection_age_grace_ms", 5000)]
    )
    shop.bind(server)
    until = time.monotonic() + 0.6
    answers = []
    while time.monotonic() < until:
        answers.append(face.call("Echo", b"x"))
    assert {b"x"} == set(answers)


def test_a_closed_channel_leaves_nothing_behind(serve, shop, face):
    """Its connections and sockets are gone."""
    before = pump().relays
    shop.bind(serve(), serve())
    for _ in range(4):
        face.call("Many", b"2", "unary_stream")
    assert pump().relays == before + 2
    face.close()
    assert settled(before)


def test_the_peer_is_told_by_name_who_is_asked(serve, shop, face):
    """The authority is the service, not the socket of the pump."""
    server = serve()
    shop.bind(server)
    face.call("Echo", b"x")
    assert not any("unix" in str(value) for _, value in server.metadata[0])


def test_only_this_process_may_use_a_relay(ca, serve):
    """Another process that connects to the socket is hung up on, and hears nothing."""
    server = serve()
    context = MeshContext(
        Watch(ca.credentials("front"), ready=True),
        server_side=False,
        authorize=allow_ids(ca.id_of("shop")),
        clock=time.time,
        alpn=("h2",),
    )
    relay = pump().relay(socket.create_connection(server.endpoint.address), context)
    relay.ready.result(PATIENCE)
    assert 0o700 == Path(relay.path).parent.stat().st_mode & 0o777
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:  # the child: only system calls, and then the end
        heard = b"refused"
        try:
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(PATIENCE)
                stranger.connect(relay.path)
                stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                heard = stranger.recv(10) or b"closed"
        except OSError:
            heard = b"closed"
        os.write(writing, heard)
        os._exit(0)
    os.close(writing)
    assert b"closed" == os.read(reading, 10)
    os.close(reading)
    os.waitpid(pid, 0)
    pump().close(relay)


def test_a_peer_without_http2_is_named(ca, shop, face, serve):
    """A server that speaks HTTP/1.1 is an error that says so."""
    context = MeshContext(
        Watch(ca.credentials("shop"), ready=True),
        server_side=True,
        authorize=lambda _: True,
        clock=time.time,
        alpn=("http/1.1",),
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = replace(serve().endpoint, port=listening.getsockname()[1])

        def accept():
            plain, _ = listening.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(1)
            except (OSError, ssl.SSLError):
                plain.close()

        threading.Thread(target=accept, daemon=True).start()
        shop.bind(endpoint)
        shop.retry(attempts=1)
        with pytest.raises(grpc.RpcError) as caught:
            face.call("Echo", b"x")
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_wait_for_ready_waits_for_an_endpoint(serve, shop, face):
    """An RPC that waits is answered when somebody appears."""
    shop.bind()
    server = serve()
    timer = threading.Timer(0.1, shop.bind, (server,))
    timer.start()
    assert b"x" == face.call("Echo", b"x", wait_for_ready=True, timeout=PATIENCE)
    timer.join()


def test_wait_for_ready_ends_with_the_timeout(shop, face):
    """Nobody comes: the code is grpcio's, the words say that nobody is there."""
    shop.bind()
    shop.config.set(UpstreamConfig())
    with pytest.raises(grpc.RpcError, match="no instance is registered") as caught:
        face.call("Echo", b"x", wait_for_ready=True, timeout=0.1)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()
