"""Peers that connect and say nothing, or not enough, or too much: they keep nobody else waiting."""

from __future__ import annotations

import contextlib
import socket

import pytest

SERVERS = [
    ("asgi", {"loop": "asyncio", "http": "h11"}),
    ("asgi", {"loop": "uvloop", "http": "httptools"}),
    ("hypercorn", {"loop": "uvloop"}),
    ("wsgi", {"threads": 2}),
]
IDS = ["asyncio-h11", "uvloop-httptools", "hypercorn", "gthread"]
PATIENCE = 20.0


@pytest.fixture(params=SERVERS, ids=IDS)
def start(request, spawn):
    """Start one of the servers; where it listens, and where its edge does."""
    kind, chosen = request.param

    def started(**options):
        child = spawn(kind, edge="127.0.0.1:0", **chosen, **options)
        _, host, port, edge = child.wait_for("started")
        return (host, port), tuple(edge)

    return started


@contextlib.contextmanager
def crowd(count, address, first=b""):
    """So many connections that send `first`, and then nothing."""
    with contextlib.ExitStack() as connections:
        made = []
        for _ in range(count):
            sock = connections.enter_context(socket.create_connection(address, PATIENCE))
            if first:
                sock.sendall(first)
            made.append(sock)
        yield made


def said(sock) -> bytes:
    """What the server says until it closes, or resets."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            answer += part
    return answer


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The first bytes of a TLS handshake."""


@pytest.mark.parametrize("first", [b"", HELLO], ids=["silent", "half a hello"])
def test_five_hundred_that_do_not_shake_hands(start, client, first) -> None:
    """Others are served, and the oldest has been shown out to make room."""
    address, _ = start(limits={"handshake": 60.0})
    with crowd(500, address, first) as connections:
        assert 200 == client.get(*address, "/")[0]
        assert b"" == said(connections[0])


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"], ids=["silent", "half"])
def test_five_hundred_at_the_edge(start, client, first) -> None:
    """Others are served at the edge too, and the oldest has been shown out."""
    _, edge = start(limits={"head": 60.0})
    with crowd(500, edge, first) as connections:
        asking = client.plain(*edge)
        assert 200 == client.ask(asking, "/")[0]
        asking.close()
        assert b"" == said(connections[0])


@pytest.mark.parametrize("first", [b"", HELLO], ids=["silent", "half a hello"])
def test_a_handshake_without_end(start, first) -> None:
    """It is cut off, without a byte of answer."""
    address, _ = start(limits={"handshake": 0.2})
    with crowd(1, address, first) as (sock,):
        assert b"" == said(sock)


def test_headers_without_end(start, client) -> None:
    """They keep no thread from others, and are cut off, on the first request and on a later one."""
    address, _ = start(limits={"head": 0.3})
    with contextlib.ExitStack() as open_now:
        slow = [open_now.enter_context(client.connect(*address)) for _ in range(3)]
        for sock in slow:
            sock.sendall(b"GET / HTTP/1.1\r\nhost: backend\r\n")
        kept = client.open(*address)
        assert 200 == client.ask(kept, "/")[0]
        kept.sock.sendall(b"GET / HTTP/1.1\r\nhost: backend\r\n")
        assert [b"", b"", b"", b""] == [said(sock) for sock in (*slow, kept.sock)]
        kept.close()


@pytest.mark.parametrize("line", [b"x-%d: y\r\n", b"%d" * 50], ids=["many", "one"])
def test_headers_that_grow(start, client, line) -> None:
    """More than 64 KiB of headers are refused while they are still coming."""
    address, _ = start()
    with client.connect(*address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: backend\r\nx: ")
        with contextlib.suppress(OSError):
            for number in range(100_000):
                sock.sendall(line % ((number,) * line.count(b"%d")))
        assert said(sock)[9:12] in {b"431", b"400", b""}
    assert 200 == client.get(*address, "/")[0]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100], ids=["http", "zeroes"])
def test_those_who_are_refused_and_stay(start, client, first) -> None:
    """Who fails the handshake and keeps the connection keeps nobody waiting."""
    address, _ = start()
    with crowd(20, address, first):
        assert 200 == client.get(*address, "/")[0]


def test_those_who_are_answered_and_stay(start, client) -> None:
    """Who asked for the end of the connection and does not end it keeps nobody waiting."""
    address, _ = start()
    with contextlib.ExitStack() as open_now:
        for _ in range(20):
            sock = open_now.enter_context(client.connect(*address))
            sock.sendall(b"GET / HTTP/1.1\r\nhost: backend\r\nconnection: close\r\n\r\n")
        assert 200 == client.get(*address, "/")[0]


def test_a_large_pipeline(start, client) -> None:
    """All of it is answered, also what TLS has decrypted ahead of its turn."""
    address, _ = start()
    request = b"GET / HTTP/1.1\r\nhost: backend\r\nx: " + b"y" * 3000 + b"\r\n\r\n"
    last = request.replace(b"x: ", b"connection: close\r\nx: ")
    assert 6 == client.exchange(*address, request * 5 + last).count(b'["frontend", false]')


def test_no_file_descriptor_left(start, client) -> None:
    """The server takes no harm, and serves again when there are some."""
    address, edge = start(files=64, limits={"head": 60.0})
    with crowd(100, address), crowd(100, edge):
        assert 200 in {status_of(client, address) for _ in range(5)}
    assert 200 == client.get(*address, "/")[0]


def status_of(client, address) -> int:
    """The answer of one try, 0 if this newcomer had to go like the others of the crowd."""
    try:
        return client.get(*address, "/")[0]
    except OSError:
        return 0
