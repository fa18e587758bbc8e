"""HTTP/2 under hypercorn: who is there, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from h2.errors import ErrorCodes
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from meshlib.serve.options import DrainConfig, Edge
from meshlib.testing.http2 import Http2, head
from meshlib.trust.bundle import Credentials

FOR_EVER = DrainConfig(lame_duck=0, grace=1000)
"""Longer than a test waits for its server: what is left behind keeps it."""


@pytest.fixture
def speak(client):
    """Connect to a server and agree on HTTP/2."""
    socks = []

    def connect(running):
        sock = client.connect(*running.address, alpn=("h2", "http/1.1"))
        socks.append(sock)
        assert "h2" == sock.selected_alpn_protocol()
        return Http2(sock)

    yield connect
    for sock in socks:
        sock.close()


@pytest.fixture
def serve(run):
    """Serve an application with hypercorn."""
    return lambda app, **options: run(app, http="hypercorn", **options)


async def answer(send, body, status=200):
    """Answer at once."""
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def who(scope, receive, send):
    """Tell what is known of a request."""
    if scope["type"] == "lifespan":
        return
    names = sorted(name.decode() for name, _ in scope["headers"])
    peer = scope["state"]["mesh_peer"]
    told = [peer and peer.service, scope["http_version"], scope["scheme"], scope["path"], names]
    await answer(send, json.dumps(told).encode())


async def echo(scope, receive, send):
    """Send back every piece before the next one is read."""
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


def test_a_request_has_its_peer_and_its_version(serve, speak) -> None:
    """The caller is the one of the handshake; claims of identity are removed."""
    with serve(who) as running:
        http = speak(running)
        stream = http.get(b"/a?b", (b"x-mesh-peer", b"admin"), (b"x-kept", b"1"))
        http.over(stream)
        told = json.loads(http.body[stream])
    assert 200 == http.status[stream]
    assert ["frontend", "2", "https", "/a", ["host", "x-kept"]] == told
    assert [("/a", 200)] == running.recorder.wait_served(1)


def test_fifty_at_once(serve, speak) -> None:
    """Streams are answered side by side: none is answered before all have come."""
    here = threading.Semaphore(0)

    async def together(scope, receive, send):
        if scope["type"] == "http":
            here.release()
            if scope["path"] == "/49":
                await answer(send, b"last")
                return
            await receive()
            await answer(send, scope["path"].encode())

    with serve(together) as running:
        http = speak(running)
        streams = [http.send(head(b"POST", b"/%d" % number), end=False) for number in range(49)]
        last = http.get(b"/49")
        http.over(last)
        for _ in range(50):
            assert here.acquire(timeout=10)
        for stream in streams:
            http.h2.end_stream(stream)
        http.over(*streams)
    assert [b"/%d" % number for number in range(49)] == [bytes(http.body[each]) for each in streams]


def test_large_bodies_both_ways_and_one_nobody_reads(serve, speak) -> None:
    """Known hard bug: hypercorn's queue of ten pieces locks both directions up for good."""
    idle, loops = asyncio.Event(), []

    async def app(scope, receive, send):
        if scope.get("path") == "/deaf":
            loops.append(asyncio.get_running_loop())
            await idle.wait()
            await answer(send, b"never read")
        else:
            await echo(scope, receive, send)

    body = bytes(range(256)) * 4096
    with serve(app) as running:
        http = speak(running)
        deaf = http.send(head(b"POST", b"/deaf"), end=False)
        for _ in range(60):
            http.write(deaf, b"x" * 1000, end=False)
        stream = http.send(head(b"POST", b"/"), body)
        http.over(stream)
        assert body == http.body[stream]
        loops[0].call_soon_threadsafe(idle.set)
        http.over(deaf)
        assert b"never read" == http.body[deaf]
        again = http.send(head(b"POST", b"/"), body)
        http.over(again)
        assert body == http.body[again]


def test_a_websocket_in_a_stream(serve, speak) -> None:
    """RFC 8441: the application of a websocket knows its peer."""

    async def talk(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            text = (await receive())["text"]
            await send(
                {"type": "websocket.send", "text": text + scope["state"]["mesh_peer"].service}
            )
            await send({"type": "websocket.close"})

    with serve(talk) as running:
        http = speak(running)
        more = [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]
        stream = http.send([*head(b"CONNECT", b"/chat"), *more], end=False)
        http.until(lambda: stream in http.status)
        assert 200 == http.status[stream]
        ws = Connection(ConnectionType.CLIENT)
        http.write(stream, ws.send(TextMessage("hello ")), end=False)
        http.until(lambda: b"frontend" in http.body[stream])
        ws.receive_data(bytes(http.body[stream]))
        assert "hello frontend" == next(iter(ws.events())).data
        http.write(stream, ws.send(CloseConnection(1000)), end=True)
        assert [("/chat", 101)] == running.recorder.wait_served(1)


GET = head(b"GET", b"/")
REFUSED = {
    "another host": [*GET, (b"host", b"other")],
    "two hosts": [GET[0], GET[1], GET[3], (b"host", b"a"), (b"host", b"b")],
    "no host": [GET[0], GET[1], GET[3]],
    "an empty authority": head(b"GET", b"/", b""),
    "two authorities": [*GET, (b":authority", b"other")],
    "two paths": [*GET, (b":path", b"/other")],
    "absolute-form": head(b"GET", b"http://evil/a"),
    "asterisk": head(b"OPTIONS", b"*"),
    "a path without a slash": head(b"GET", b"asked"),
    "an empty path": head(b"GET", b""),
    "no path": [GET[0], GET[1], GET[2]],
    "a path that is not ASCII": head(b"GET", b"/\xff"),
    "a method that is not ASCII": head(b"G\xc4T", b"/"),
    "no method": GET[1:],
    "connect": [(b":method", b"CONNECT"), (b":authority", b"evil:80")],
    "connect with a path": head(b"CONNECT", b"/"),
    "connect to another protocol": [*head(b"CONNECT", b"/"), (b":protocol", b"connect-udp")],
    "a protocol without connect": [*GET, (b":protocol", b"websocket")],
    "an encoding": [*head(b"POST", b"/"), (b"transfer-encoding", b"chunked")],
    "two lengths": [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    "a length that is not kept": [*GET, (b"content-length", b"5")],
    "a connection header": [*GET, (b"connection", b"x-first")],
    "an upper-case name": [*GET, (b"X-First", b"1")],
    "a line break in a value": [*GET, (b"x-first", b"1\r\nx-mesh-peer: admin")],
    "a status": [*GET, (b":status", b"200")],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_request_of_one_meaning(serve, speak, what) -> None:
    """It is refused as a stream or as a connection, and the application never hears of it."""
    reached = []

    async def never(scope, receive, send):
        if scope["type"] != "lifespan":
            reached.append(scope)
            await answer(send, b"reached")

    with serve(never) as running:
        http = speak(running)
        stream = http.send(REFUSED[what])
        http.over(stream)
        assert http.status.get(stream, 400) == 400
        assert stream in http.reset or stream in http.status or http.closed
        other = speak(running)
        assert 200 == status_of_health(other)
        http.close()
        other.close()
    assert [] == reached


def status_of_health(http) -> int:
    stream = http.get(b"/-/health")
    http.over(stream)
    return http.status[stream]


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings, close\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
)


def test_there_is_no_way_to_it_but_alpn(serve, client) -> None:
    """An upgrade is answered as if it had not been asked for, a preface is no request."""
    with serve(who) as running:
        upgraded = client.exchange(*running.address, UPGRADE)
        two_hosts = UPGRADE.replace(b"Host: a", b"Host: a\r\nHost: b")
        assert b"HTTP/1.1 400" == client.exchange(*running.address, two_hosts)[:12]
        assert b"HTTP/1.1 400" == client.exchange(*running.address, PREFACE)[:12]
    assert b"HTTP/1.1 200" == upgraded[:12]
    assert b'"frontend", "1.1"' in upgraded


def test_a_drain_says_goodbye_and_finishes(serve, speak) -> None:
    """A stream under way is finished, a later one may be retried, and GOAWAY ends it."""
    held, release = threading.Event(), asyncio.Event()
    loops = []

    async def hold(scope, receive, send):
        if scope["type"] == "http":
            loops.append(asyncio.get_running_loop())
            held.set()
            await release.wait()
            await answer(send, b"finished")

    with serve(hold) as running:
        http, idle = speak(running), speak(running)
        assert 200 == status_of_health(idle)
        stream = http.get(b"/")
        assert held.wait(10)
        running.server.stop()
        while idle.read():
            pass
        assert 0 == idle.goodbye
        late = http.get(b"/late")
        http.until(lambda: late in http.reset)
        assert ErrorCodes.REFUSED_STREAM == http.reset[late]
        loops[0].call_soon_threadsafe(release.set)
        http.until(lambda: stream in http.ended)
        assert b"finished" == http.body[stream]
        while http.read():
            pass
        assert 0 == http.goodbye
    assert ["register", "drain", "close"] == running.recorder.events


def test_a_connection_outlives_its_trust_by_not_one_request(serve, speak) -> None:
    """Once the root behind it is gone, the next request is 421, and the connection ends."""
    with serve(who) as running:
        http = speak(running)
        first = http.get(b"/")
        http.over(first)
        leaf = running.credentials.value.leaf
        running.credentials.set(Credentials(leaf, {}, 2))
        second = http.get(b"/")
        http.over(second)
        while http.read():
            pass
    assert (200, 421) == (http.status[first], http.status[second])
    assert 0 == http.goodbye


def test_streams_that_are_opened_and_reset(serve, speak) -> None:
    """Known hard bug, CVE-2023-44487: no more applications run than there may be streams."""
    running_now, release, loops = [], asyncio.Event(), []
    as_many_as_may = threading.Event()

    async def stubborn(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/":
            loops.append(asyncio.get_running_loop())
            running_now.append(scope)
            if len(running_now) == 100:
                as_many_as_may.set()
            await release.wait()

    with serve(stubborn) as running:
        http = speak(running)
        for _ in range(300):
            stream = http.get(b"/")
            http.h2.reset_stream(stream, ErrorCodes.CANCEL)
        http.flush()
        refused = http.get(b"/")
        http.over(refused)
        assert ErrorCodes.REFUSED_STREAM == http.reset[refused]
        assert as_many_as_may.wait(20)
        assert 100 == len(running_now)
        loops[0].call_soon_threadsafe(release.set)
        running.recorder.wait_served(100)
        assert 200 == status_of_health(http)


def test_an_application_that_breaks_off(serve, speak) -> None:
    """Its stream is reset, so that nobody waits; the connection is as good as before."""

    async def breaks(scope, receive, send):
        if scope["type"] == "http":
            if scope["path"] == "/later":
                await send({"type": "http.response.start", "status": 200, "headers": []})
            raise RuntimeError(scope["path"])

    with serve(breaks) as running:
        http = speak(running)
        later, sooner = http.get(b"/later"), http.get(b"/sooner")
        http.over(later, sooner)
        assert ErrorCodes.INTERNAL_ERROR == http.reset[later]
        assert 500 == http.status[sooner]
        assert 200 == status_of_health(http)


def test_a_body_that_goes_on_after_the_answer(serve, speak) -> None:
    """The client is told to stop (RFC 9113 section 8.1); the connection is as good as before."""

    async def early(scope, receive, send):
        if scope["type"] == "http":
            await answer(send, b"no", 413)

    with serve(early) as running:
        http = speak(running)
        stream = http.send(head(b"POST", b"/"), end=False)
        http.over(stream)
        http.write(stream, b"x" * 200_000, end=False)
        http.until(lambda: stream in http.reset)
        assert (413, ErrorCodes.NO_ERROR) == (http.status[stream], http.reset[stream])
        assert 200 == status_of_health(http)


def test_a_body_that_goes_on_in_http_1(serve, client) -> None:
    """Known hard bug: an answer before the end of a large body leaves nothing behind."""

    async def early(scope, receive, send):
        if scope["type"] == "http":
            await answer(send, b"no", 413)

    request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n" + b"x" * 10_000_000
    with serve(early, drain=FOR_EVER) as running:
        sock = client.connect(*running.address)
        sender = threading.Thread(target=send_all, args=(sock, request))
        sender.start()
        assert b"HTTP/1.1 413" == sock.recv(12)
        sender.join(10)
        assert not sender.is_alive()
        sock.close()


def test_a_request_that_follows_the_last_answer(serve, client) -> None:
    """Known hard bug: begun before the drain, the answer ends its connection all the same."""
    begun, release, loops = threading.Event(), asyncio.Event(), []

    async def slow(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            loops.append(asyncio.get_running_loop())
            begun.set()
            await release.wait()
            await send({"type": "http.response.body", "body": b"done"})

    with serve(slow, drain=FOR_EVER) as running:
        idle, sock = client.open(*running.address), client.connect(*running.address)
        assert 200 == client.ask(idle, "/-/health")[0]
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2)
        assert begun.wait(10)
        running.server.stop()
        assert b"" == idle.sock.recv(1)
        loops[0].call_soon_threadsafe(release.set)
        answer = exchange(sock)
        idle.close()
        running.recorder.wait_closed()
    assert 1 == answer.count(b"HTTP/1.1 200")
    assert b"done" in answer


def exchange(sock) -> bytes:
    """All that is said until the server closes."""
    said = b""
    with sock:
        while part := sock.recv(65536):
            said += part
    return said


def send_all(sock, data) -> None:
    try:
        sock.sendall(data)
    except OSError:
        return


def test_the_edge_speaks_http2_where_it_has_a_certificate(serve, ca, tmp_path) -> None:
    """A browser chooses it by ALPN; it has no identity."""
    import socket
    import ssl

    leaf = ca.leaf(dns=("localhost",), uris=())
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(leaf.chain_pem)
    key.write_bytes(leaf.key_pem)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=next(iter(ca.bundle.roots)))
    context.set_alpn_protocols(["h2"])
    with serve(who, edge=Edge("127.0.0.1", 0, str(cert), str(key))) as running:
        sock = socket.create_connection(running.where.edge, timeout=10)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            http = Http2(tls)
            stream = http.get(b"/")
            http.over(stream)
    assert [None, "2"] == json.loads(http.body[stream])[:2]
