"""Bodies pass as they come, in both directions; websockets too; and who hangs up is noticed."""

from __future__ import annotations

import asyncio
import threading

import pytest
import websockets.sync.client

BLOCK = b"x" * 65536


async def echo(scope, receive, send):
    """Send back every piece before the next one is read."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
def test_neither_direction_is_buffered(run, client, http) -> None:
    """Each piece of the answer arrives before the next piece of the request is sent."""
    with run(echo, http=http) as running:
        sock = client.connect(*running.address)
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        stream = sock.makefile("rb")
        while stream.readline() != b"\r\n":
            pass
        for piece in (b"one", b"two", BLOCK):
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            back = b""
            while len(back) < len(piece):
                back += stream.read(int(stream.readline(), 16))
                stream.readline()
            assert piece == back
        sock.sendall(b"0\r\n\r\n")
        assert b"0\r\n" == stream.readline()
        stream.close()
        sock.close()
        assert [("/", 200)] == running.recorder.wait_served(1)


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
def test_a_client_that_hangs_up_reaches_the_application(run, client, http) -> None:
    """The application receives http.disconnect, and the request counts as status 0."""
    waiting = threading.Event()

    async def wait(scope, receive, send):
        while scope["type"] == "http" and (await receive())["type"] != "http.disconnect":
            waiting.set()

    with run(wait, http=http) as running:
        connection = client.open(*running.address)
        connection.request("GET", "/left")
        assert waiting.wait(10)
        assert 1 == running.app.in_flight
        connection.close()
        assert [("/left", 0)] == running.recorder.wait_served(1)
        assert 0 == running.app.in_flight


async def talk(scope, receive, send):
    """Greet the peer of a websocket by name."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["state"]["mesh_peer"].service})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"].upper()})
    await send({"type": "websocket.close"})


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
def test_a_websocket_carries_the_peer(run, client, http) -> None:
    """The application of a websocket knows its peer; the handshake is reported as 101."""
    with run(talk, http=http) as running:
        sock = client.connect(*running.address)
        with websockets.sync.client.connect("ws://backend/chat", sock=sock) as socket:
            assert "frontend" == socket.recv()
            socket.send("loud")
            assert "LOUD" == socket.recv()
        assert [("/chat", 101)] == running.recorder.wait_served(1)


def test_an_application_that_raises_is_reported_as_500(run, client) -> None:
    """The server answers 500 for it, and so says the report."""

    async def broken(scope, receive, send):
        raise RuntimeError(scope["type"])

    with run(broken) as running:
        assert 500 == client.get(*running.address, "/broken")[0]
        assert [("/broken", 500)] == running.recorder.wait_served(1)


def test_the_lifespan_passes_through(run) -> None:
    """The application starts before it is registered and stops after the drain."""
    order = []

    async def app(scope, receive, send):
        assert "lifespan" == scope["type"]
        for step in ("startup", "shutdown"):
            await receive()
            order.append(step)
            await asyncio.sleep(0)
            await send({"type": f"lifespan.{step}.complete"})

    with run(app) as running:
        assert ["startup"] == order
        assert ["register"] == running.recorder.events
    assert ["startup", "shutdown"] == order
    assert ["register", "drain", "close"] == running.recorder.events
