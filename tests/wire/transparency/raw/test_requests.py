"""What reaches an application over a bare socket, byte by byte, alone and in the mesh."""

from __future__ import annotations

import json

import pytest

PATHS = [
    b"/a%2Fb",
    b"//x",
    b"/a//b/",
    b"/;p=1;q",
    b"/%E2%82%AC/%c3%a9",
    b"/%ff%00x",
    b"/../up/./here",
    b"/a%2e%2e/b",
    b"/x?",
    b"/x?a=1&a=2;b",
    b"/x?%zz=%",
    b"/~!$&'()*+,=:@",
    b"/a|b\\c^d",
    b"/" + b"long/" * 1000,
]
HEAD = b"Host: shop\r\nConnection: close\r\n"


def echoed(said):
    """What the application told; the scheme is the one difference: in the mesh it is TLS."""
    assert said.startswith(b"HTTP/1.1 200"), said
    told = json.loads(said.partition(b"\r\n\r\n")[2])
    told.pop("scheme")
    extensions = told.pop("extensions")
    return told, [each for each in extensions if each != "tls"]


@pytest.fixture
def same_echo(pair):
    """Send the same to both; what the application saw, once it is found to be the same."""

    def ask(*parts):
        plain, mesh = (echoed(place.exchange(*parts)) for place in pair)
        assert plain == mesh
        return mesh[0]

    return ask


@pytest.mark.parametrize("path", PATHS)
def test_paths(same_echo, path):
    """Escapes, double slashes, parameters, dots and queries arrive as they do without."""
    seen = same_echo(b"GET " + path + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert path.partition(b"?")[0].decode() == seen["raw_path"]


def test_headers(same_echo):
    """Case, order, repetition, empty values, spaces and latin-1 arrive as they do without."""
    lines = [
        b"X-Zebra: 1",
        b"x-TWICE: one",
        b"X-Empty:",
        b"x-apple:   a  b  ",
        b"X-Twice: two",
        b"x-latin: caf\xe9",
        b'Cookie: a=1; b="2"; c',
        b"cookie: d=4",
        b"x_under_score: 1",
        b"TE: trailers",
        b"X-Forwarded-For: 192.0.2.1",
        b"X-Long: " + b"v" * 20_000,
    ]
    seen = same_echo(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n".join(lines) + b"\r\n\r\n")
    names = [name for name, _ in seen["headers"]]
    assert 2 == names.count("x-twice")
    assert ["x-latin", "caf\xe9"] in seen["headers"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PROPFIND", b"M-SEARCH", b"get"])
def test_methods(same, method):
    """Known and unknown, and one in small letters."""
    said = same(method + b" /odd HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert said.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 4\r\n\r\nbody",
        b"Content-Length: 0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2;why=not\r\ndy\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Encoding: br\r\n\r\n\x8b\x01\x80a",
    ],
)
def test_bodies(same_echo, body):
    """With a length, in chunks, with extensions, compressed: as they come without."""
    seen = same_echo(b"POST / HTTP/1.1\r\n" + HEAD + body)
    assert len(seen["body"]) in {0, 4}


def test_trailers(pair):
    """Are read, and are no headers, as under most servers.

    uvicorn's httptools adds them to the headers of a request that is being served; not in the mesh.
    """
    body = b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Mesh-Peer: me\r\n\r\n"
    seen, _ = echoed(pair[1].exchange(b"POST / HTTP/1.1\r\n" + HEAD + body))
    assert ("body", 3) == (seen["body"], len(seen["headers"]))


def test_http_1_0(same_echo):
    """Without a Host, and with one; with a body."""
    assert "1.0" == same_echo(b"GET / HTTP/1.0\r\n\r\n")["http_version"]
    head = b"POST /x HTTP/1.0\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi"
    assert "hi" == same_echo(head)["body"]


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop\r\nX: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http(same, bad):
    """Is answered by the server, as it answers without."""
    same(bad)


def test_several_requests_on_one_connection(same):
    """One after the other without a wait; the answers come in order."""
    kept = b"GET /chunks HTTP/1.1\r\nHost: shop\r\n\r\n"
    said = same(kept, kept, b"GET /odd HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert 3 == said.count(b"HTTP/1.1 200")


@pytest.mark.parametrize("target", [b"*", b"http://shop/x"])
def test_targets_that_are_no_path(pair, target):
    """Are refused in the mesh: rules are about paths.  Meant; see docs/how-to/faces.md."""
    _plain, mesh = pair
    said = mesh.exchange(b"OPTIONS " + target + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert said.startswith(b"HTTP/1.1 400")
    assert b'expected a request target that starts with "/"' in said
