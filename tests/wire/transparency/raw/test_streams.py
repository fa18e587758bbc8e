"""Bodies that are on their way: slow ones, endless ones, and ends that go away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import socket
import ssl

import pytest

CHUNKED = b" HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"Host: shop\r\nConnection: close\r\n\r\n"
BUFFERS = 24 * 2**20
"""What sockets, TLS and the server's own high-water mark may hold together; it is far less."""
ROUNDS = 3
"""Requests that a server answers meanwhile: by then its loop has found what room there is."""


def chunk(data):
    """In the manner of HTTP/1.1."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def heard(place):
    """The next thing the application tells."""
    return place.app.seen.get(timeout=9)


def later(place):
    """The place, once its event loop has been round a few times."""
    for _ in range(ROUNDS):
        place.exchange(b"GET / HTTP/1.1\r\n" + LAST)
    return place


def news(place):
    """All that the application has told by now."""
    told = []
    with contextlib.suppress(queue.Empty):
        while True:
            told.append(place.app.seen.get_nowait())
    return told


def pushed(sock, part):
    """Bytes that the socket takes now."""
    try:
        return sock.send(part)
    except (BlockingIOError, ssl.SSLWantWriteError):
        return 0


def pushed_sometime(place, sock, part):
    """The same; none, if the server takes nothing more of what is there."""
    return pushed(sock, part) or (later(place) and pushed(sock, part))


def forgotten(place):
    """Nothing is left of what it told before."""
    news(place)
    return place


def test_each_part_arrives_before_the_next_is_sent(pair):
    """A slow writer is heard part by part."""
    for place in map(forgotten, pair):
        with place.connect() as sock:
            sock.sendall(b"POST /tells" + CHUNKED)
            total = 0
            for size in (1, 10, 70_000):
                sock.sendall(chunk(b"x" * size))
                total += size
                while (now := heard(place)) != total:
                    assert now <= total
            sock.sendall(b"0\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"


def test_each_part_is_answered_before_the_next_is_sent(pair, read_until):
    """A dialogue in one request: neither direction is held back."""
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"POST /parts" + CHUNKED)
            for word in (b"one", b"two", b"three"):
                sock.sendall(chunk(word))
                assert word in read_until(sock, word)
            sock.sendall(b"0\r\n\r\n")
            assert read_until(sock, b"0\r\n\r\n").endswith(b"0\r\n\r\n")


def test_megabytes_both_ways_at_once(pair):
    """A writer and a reader of the same connection: all comes back, and nobody waits for ever."""
    part, count = b"p" * 50_000, 120

    async def talk(place):
        reader, writer = await place.open()

        async def write():
            writer.write(b"POST /parts" + CHUNKED)
            for _ in range(count):
                writer.write(chunk(part))
                await writer.drain()
            writer.write(b"0\r\n\r\n")

        writing = asyncio.create_task(write())
        await reader.readuntil(b"\r\n\r\n")
        size, said = 0, b""
        while not said.endswith(b"\r\n0\r\n\r\n"):
            got = await reader.read(65536)
            assert got
            size, said = size + got.count(b"p"), said[-20:] + got
        await writing
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return size

    for place in pair:
        assert len(part) * count == asyncio.run(talk(place))


def test_an_endless_answer_waits_for_its_reader(pair):
    """Who stops reading stops the application: a few buffers are full, and no more is made."""
    for place in map(forgotten, pair):
        with place.connect() as sock:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert b"H" == sock.recv(1)
            made = 0
            while made < BUFFERS and (more := sum(news(later(place)))):
                made += more
            assert 65536 <= made < BUFFERS
        while (told := heard(place)) != "http.disconnect":
            assert 65536 == told


def test_an_upload_waits_for_its_application(pair):
    """Who does not read is not sent to: the peer's writes stop."""
    for place in map(forgotten, pair):
        with place.connect() as sock:
            sock.sendall(b"POST /ignores" + CHUNKED + b"%x\r\n" % (2 * BUFFERS))
            sock.setblocking(False)
            sent, part = 0, b"u" * 65536
            while sent < BUFFERS and (more := pushed_sometime(place, sock, part)):
                sent += more
            assert 65536 <= sent < BUFFERS
        assert b"gone" in place.exchange(b"GET /go HTTP/1.1\r\n" + LAST)


@pytest.mark.parametrize("how", ["close", "half"])
def test_a_client_that_goes_away(pair, how):
    """The application is told `http.disconnect`."""
    for place in map(forgotten, pair):
        with place.connect() as sock:
            sock.sendall(b"GET /waits HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert "waits" == heard(place)
            if how == "half":
                sock.shutdown(socket.SHUT_WR)
                assert "http.disconnect" == heard(place)
        if how == "close":
            assert "http.disconnect" == heard(place)


def test_a_client_that_goes_in_the_midst_of_its_body(pair):
    """The application is told so, and not that the body has ended."""
    for place in map(forgotten, pair):
        with place.connect() as sock:
            sock.sendall(b"POST /tells" + CHUNKED + chunk(b"half"))
            assert 4 == heard(place)
        assert "disconnect" == heard(place)


def test_what_follows_the_answer(pair, read_until):
    """Runs when the answer is out, without which it is not kept waiting."""
    for place in map(forgotten, pair):
        with place.connect() as sock:
            sock.sendall(b"GET /after HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert b"answered" in read_until(sock, b"answered")
            assert "after" == heard(place)
            sock.sendall(b"GET /after/gone HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert b"answered" in read_until(sock, b"answered")
            assert "http.disconnect" == heard(place)


def test_scopes(same):
    """What else a scope says: extensions, version of ASGI, state of the lifespan."""
    said = same(b"GET /scope HTTP/1.1\r\n" + LAST)
    told = json.loads(said.partition(b"\r\n\r\n")[2])
    assert "lifespan" == told["state"]["from"]
