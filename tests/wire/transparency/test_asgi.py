"""What an ASGI application and its clients see with the mesh around them is what they see without.

Every question is put twice, by the same library to the same application, and both answers must be
the same to the byte: status, reason, headers in order, body, URL, redirects.
"""

from __future__ import annotations

import asyncio
import itertools
import json

import aiohttp
import pytest

ODD = [
    "/a%20b",
    "/a%2Fb",
    "/a;b=c",
    "/a:b@c",
    "/%E2%82%AC",
    "/~tilde/-_.!'()*",
    "/q?a=1&a=2",
    "/q?a=%20+%2B",
    "/q?a&&b=&=c",
    "/q??x=/?y",
    "/q?json={}",
]


def echoed(got):
    """What the application saw, without what the mesh adds, and how hosts are called."""
    seen = json.loads(got.body)
    seen["headers"] = [
        [name, value]
        for name, value in seen["headers"]
        if not name.startswith(("x-mesh-", "x-envoy-", "traceparent"))
    ]
    return seen


@pytest.fixture
def same_echo(worlds, library):
    """The same for /echo, which tells of the request."""

    def ask(method, path, options):
        answers = []
        for world in worlds:
            made = options() if callable(options) else options
            (got,) = library.ask(world, (method, path, made))
            got.body = world.told(got.body.decode()).encode()
            answers.append(echoed(got))
        plain, meshed = answers
        assert plain == meshed
        return meshed

    return ask


def test_paths_and_queries(same_echo):
    """However odd, they arrive as they do without."""
    for path in ODD:
        same_echo("GET", path, {})


def test_methods(same_echo):
    """With a body and without; the headers that libraries add are the same too."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert method == same_echo(method, "/", {})["method"]
        if method != "OPTIONS":
            assert "body" == same_echo(method, "/", {"data": b"body"})["body"]


def test_headers_of_requests(same_echo):
    """Their order, values and spaces; empty ones; bytes that are not ASCII."""
    headers = [("X-Zebra", "1"), ("x-empty", ""), ("X-Latin", "caf\xe9"), ("x-apple", "a  b")]
    headers = [(name, value) for name, value in headers]
    seen = same_echo("GET", "/", {"headers": dict(headers) | {"X-Latin": "cafe"}})
    assert ["x-zebra", "1"] in seen["headers"]


def test_cookies_of_requests(same_echo):
    """A Cookie header of one's own."""
    same_echo("GET", "/", {"headers": {"Cookie": 'a=1; b="2"; c'}})


def test_headers_of_answers(same):
    """Their order, repetition and empty values."""
    (got,) = same(("GET", "/odd-headers", {}))
    names = [name for name, _ in got.headers]
    assert names.index("x-between") in range(names.index("x-twice"), len(names))
    assert ("x-empty", "") in got.headers


def test_statuses(same):
    """With their reasons, and without a body."""
    for code in (200, 201, 204, 206, 304, 400, 404, 418, 429, 500, 511, 599):
        (got,) = same(("GET", f"/status/{code}", {}))
        assert (code, b"") == (got.status, got.body)


def test_head(same):
    """The headers of an answer without the answer."""
    for path in ("/plain", "/streamed", "/download/3000000", "/gzip"):
        (got,) = same(("HEAD", path, {}))
        assert b"" == got.body


def test_bodies_of_answers(same):
    """Short, chunked, long and compressed."""
    for path in ("/plain", "/streamed", "/download/8000000", "/gzip"):
        (got,) = same(("GET", path, {}))
        assert got.body


def test_bodies_of_requests(same):
    """Short ones and long ones, with their length."""
    for size in (1, 70_000, 1_000_000):
        (got,) = same(("POST", "/upload", {"data": b"u" * size}))
        assert [size, "length"] == [json.loads(got.body)[0], json.loads(got.body)[2]]


def test_cookies_and_sessions(same):
    """What the answer sets, the next request brings: of the right path only."""
    _, second = same(("GET", "/cookies", {}), ("GET", "/cookies", {}))
    assert {"taste": "sweet"} == json.loads(second.body)


def test_redirects(same):
    """Followed with the method that the library keeps, relative ones and those out of the root."""
    for code, method in itertools.product((301, 302, 303, 307, 308), ("GET", "POST")):
        options = {"data": b"again"} if method == "POST" else {}
        (got,) = same((method, f"/redirect/{code}?to=../status/202%3Fx=1", options))
        assert 1 == got.hops


def test_an_answer_that_breaks_off(worlds, library):
    """Is an error in both worlds, and no short body."""
    for world in worlds:
        with pytest.raises(library.errors):
            library.ask(world, ("GET", "/broken", {}))


def test_connections_are_kept(worlds, library):
    """Two requests of a session come by one connection, as without."""
    for world in worlds:
        first, second = library.ask(world, *[("GET", "/peer-port", {})] * 2)
        assert first.body == second.body


def test_the_client_goes_away(worlds, library):
    """Whoever leaves an endless answer ends it at the server, which sent no more than was read.

    What is under way between the two is a matter of their buffers, and far from 64 MiB.
    """
    for world in worlds:
        world.sample.reset()
        library.leave(world, "/endless/now", 1_000_000)
        assert b"gone" == library.ask(world, ("GET", "/gone", {}))[0].body
        assert world.sample.sent < 64 * 2**20


def test_uploads_that_are_produced_while_they_are_sent(same, library):
    """Chunked in both worlds, and complete."""
    parts = [b"p" * 10_000] * 100
    (got,) = same(("POST", "/upload", lambda: {"data": library.produced(parts)}))
    assert [1_000_000, "chunked"] == [json.loads(got.body)[0], json.loads(got.body)[2]]


def test_expect_continue(same):
    """A client that asks first is told to go on."""
    (got,) = same(("POST", "/expect", {"data": b"x" * 9999, "headers": {"Expect": "100-continue"}}))
    assert [9999, 200] == [json.loads(got.body)[0], got.status]


def session_of(world):
    """A session of aiohttp."""
    return world.mesh.aiohttp_session() if world.mesh else aiohttp.ClientSession()


def test_websockets(worlds):
    """Of aiohttp, in both worlds."""

    async def talk(world):
        async with session_of(world) as session:
            async with session.ws_connect(f"{world.base}/chat") as ws:
                await ws.send_str("hello")
                return await ws.receive_str(), (await ws.receive()).type, ws.close_code

    plain, meshed = (asyncio.run(talk(world)) for world in worlds)
    assert plain == meshed == ("hello", aiohttp.WSMsgType.CLOSE, 4000)
