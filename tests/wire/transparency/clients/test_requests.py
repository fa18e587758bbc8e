"""What client libraries put on the wire, line by line, alone and in the mesh."""

from __future__ import annotations

import io

import pytest

PATHS = [
    "/a%2Fb",
    "//x",
    "/a//b/",
    "/;p=1;q",
    "/%E2%82%AC",
    "/caf\u00e9?\u20ac=\u00fc",
    "/a b?c d",
    "/../up/./here",
    "/a%2e%2e/b",
    "/x?a=1&a=2;b",
    "/x?%zz=%",
    "/x#fragment",
    "/~!$&'()*+,=:@",
    "/a|b^d",
    "/" + "long/" * 1000,
    "/%3F?%3F#%23",
    "/x?a=http://other/?b=1",
]
FRAMING = ("host: ", "content-length: ", "transfer-encoding: ")
CHUNKED = "transfer-encoding: chunked"


def in_order(head):
    """The lines whose place means anything."""
    return [line for line in head if not line.lower().startswith(FRAMING)]


@pytest.fixture
def same(worlds, library, name):
    """Ask both; the lines of the head and the body as they came, once they are the same.

    Meant: urllib.request ends its connection each time, and the mesh keeps its own;
    where the lines stand that frame a message.
    """

    def ask(method, path, **options):
        said = []
        for world in worlds:
            made = {key: value() if callable(value) else value for key, value in options.items()}
            world.server.forget()
            library.ask(world, method, path, **made)
            head, body = world.head(), world.server.bodies.get(timeout=9)
            if name == "urllib.request":
                head = [line for line in head if not line.startswith("Connection: ")]
            said.append((head, body))
        (head, body), mesh = said
        assert [body, *sorted(head)] == [mesh[1], *sorted(mesh[0])]
        if name != "urllib.request":
            assert in_order(head) == in_order(mesh[0])
        return mesh

    return ask


@pytest.mark.parametrize("path", PATHS)
def test_paths(same, name, path):
    """Are quoted, or left alone, as the library does it."""
    if (name == "urllib.request" and not path.isascii()) or (
        " " in path and name == "urllib.request"
    ):
        pytest.skip("it sends no such path")
    same("GET", path)


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "QUERY"]


@pytest.mark.parametrize("options", [{}, {"data": b""}], ids=["nothing", "empty"])
@pytest.mark.parametrize("method", METHODS)
def test_methods(same, method, options):
    """With the headers that the library adds of its own, over a new connection and an open one."""
    same(method, "/", **options)
    same(method, "/", **options)


def test_headers(same):
    """In the case and the order in which they were given."""
    given = {
        "X-Zebra": "1",
        "x-lower": "2",
        "X-UPPER": "3",
        "x-empty": "",
        "Accept": "a/b;q=0.5, */*",
        "User-Agent": "own/1",
        "Accept-Encoding": "identity",
        "Cookie": 'a=1; b="2"; c',
        "TE": "trailers",
        "Referer": "http://elsewhere/",
        "Authorization": "Bearer x",
        "X-Long": "v" * 8000,
    }
    same("GET", "/", headers=given)


@pytest.mark.parametrize("body", [b"", b"body", b"b" * 100_000])
def test_bodies(same, body):
    """With their length."""
    same("POST", "/", data=body, headers={"Content-Type": "text/plain"})


def test_a_file(same, name):
    """Its framing is the library's."""
    if name.startswith("httpx-async"):
        pytest.skip("it takes no file")
    made = {"data": lambda: io.BytesIO(b"file" * 500)}
    if name == "urllib.request":
        made["headers"] = {"Content-Length": "2000", "Content-Type": "text/plain"}
    assert b"file" * 500 in same("POST", "/", **made)[1]


def test_parts(same, name):
    """In chunks, one a part."""
    if name in {"httpx-async", "aiohttp"}:
        pytest.skip("it wants an asynchronous one")
    made = {"headers": {"Content-Type": "text/plain"}} if name == "urllib.request" else {}
    head, body = same("POST", "/", data=lambda: iter([b"one", b"", b"two"]), **made)
    assert CHUNKED in {line.lower() for line in head}
    assert b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" == body


def test_queries_without_a_word(worlds, library):
    """Nothing is sent of an empty query, which says no more than none.  Meant."""
    for path, target in (("/x?", "/x"), ("/x?&", "/x?&")):
        worlds[1].server.forget()
        library.ask(worlds[1], "GET", path)
        assert f"GET {target} HTTP/1.1" == worlds[1].head()[0]


@pytest.mark.parametrize("value", ["close", "keep-alive"])
def test_connection(same, value):
    """What the user says of the connection."""
    same("GET", "/", headers={"Connection": value})


def test_values_that_are_not_ascii(same, name):
    """As the library encodes them; but for httpx in an event loop, where they are UTF-8.  Meant."""
    if name == "httpx-async":
        pytest.skip("aiohttp, which sends for it, has no other way")
    value = b"caf\xe9" if name.startswith("httpx") else "caf\xe9"
    assert "X-Latin: caf" in "".join(same("GET", "/", headers={"X-Latin": value})[0])


def test_hosts(same):
    """A Host of one's own."""
    assert "elsewhere" in "".join(same("GET", "/", headers={"Host": "elsewhere"})[0])
