"""What client libraries make of answers, byte by byte, alone and in the mesh."""

from __future__ import annotations

import gzip
import zlib

import pytest

OK = b"HTTP/1.1 200 OK\r\n"
TWO = b"Content-Length: 2\r\n\r\nhi"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SQUEEZED = gzip.compress(b"squeeze me " * 50, mtime=0)
ANSWERS = {
    "early-hints": [b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n", OK + TWO],
    "processing": [b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK + TWO],
    "unasked-continue": [b"HTTP/1.1 100 Continue\r\n\r\n", OK + TWO],
    "trailers": [OK + CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n"],
    "chunk-extensions": [OK + CHUNKED + b"2;a=b\r\nhi\r\n0;c\r\n\r\n"],
    "many-chunks": [OK + CHUNKED, b"1\r\nh\r\n", b"1\r\ni\r\n", b"0\r\n", b"\r\n"],
    "until-close": [OK + b"\r\nuntil ", b"the end", None],
    "http-1.0": [b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold", None],
    "http-1.0-length": [b"HTTP/1.0 200 OK\r\n" + TWO, None],
    "long-until-close": [OK + b"\r\n", b"l" * 300_000, None],
    "no-reason": [b"HTTP/1.1 200\r\n" + TWO],
    "empty-reason": [b"HTTP/1.1 200 \r\n" + TWO],
    "own-reason": [b"HTTP/1.1 299 As I Like It!\r\n" + TWO],
    "equal-lengths": [OK + b"Content-Length: 2\r\n" + TWO],
    "listed-lengths": [OK + b"Content-Length: 2, 2\r\n\r\nhi", None],
    "cookies": [OK + b"".join(b"Set-Cookie: c%d=%d\r\n" % (n, n) for n in range(85)) + TWO],
    "long-line": [OK + b"X-Long: " + b"v" * 60_000 + b"\r\n" + TWO],
    "odd-bytes": [OK + b"X-Odd: \x80\xff\xfe\r\n" + TWO],
    "length-and-chunks": [OK + b"Content-Length: 9\r\n" + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", None],
    "long-trailers": [OK + CHUNKED + b"2\r\nhi\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n"],
    "folded": [OK + b"X-Folded: a\r\n  b\r\n" + TWO],
    "signed-length": [OK + b"Content-Length: +2\r\n\r\nhi", None],
    "many-more-headers": [OK + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(120)) + TWO],
    "cases": [OK + b"X-MIXED-Case: Kept\r\nx-lower: 1\r\nX-UPPER: 2\r\n" + TWO],
    "twice": [OK + b"X-A: 1\r\nX-B: -\r\nx-a: 2\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n" + TWO],
    "empty-header": [OK + b"X-Empty:\r\nX-Blank:   \r\nX-After: 1\r\n" + TWO],
    "spaces": [OK + b"X-Spaces:  \t a  b \t\r\nX-None:x\r\n" + TWO],
    "latin-1": [OK + b"X-Latin: caf\xe9\r\n" + TWO],
    "utf-8": [OK + "X-Utf: caf\u00e9\r\n".encode() + TWO],
    "long-header": [OK + b"X-Long: " + b"v" * 7000 + b"\r\n" + TWO],
    "many-headers": [OK + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(90)) + TWO],
    "no-content": [b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"],
    "not-modified": [b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 99\r\n\r\n'],
    "reset-content": [b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"],
    "partial": [b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n" + TWO],
    "redirect": [b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /caf\xc3\xa9?a b\r\n" + TWO],
    "error": [b"HTTP/1.1 418 I'm a teapot\r\n" + TWO],
    "gzip": [
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(SQUEEZED) + SQUEEZED
    ],
    "gzip-chunked": [
        OK + b"Content-Encoding: gzip\r\n" + CHUNKED,
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(SQUEEZED), SQUEEZED),
    ],
    "deflate": [OK + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"deflated"), None],
    "unknown-encoding": [OK + b"Content-Encoding: own\r\n" + TWO],
    "connection-close": [OK + b"Connection: close\r\n" + TWO, None],
    "keep-alive": [OK + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n" + TWO],
    "server": [OK + b"Server: its own\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nVia: x\r\n" + TWO],
    "ours": [OK + b"X-Mesh-Anything: kept\r\n" + TWO],
}
OLD = {"http-1.0", "http-1.0-length"}
INTERIM = {"early-hints", "processing"}
HTTP_CLIENT_S = {"requests", "urllib3", "urllib.request"}
"""They take any status but 100 for the answer, and the answer for the next one's."""
HTTPX = {"httpx", "httpx2"}
ASYNCHRONOUS = {"httpx-async", "aiohttp"}
MEANT = {
    "equal-lengths": {"aiohttp"},
    "listed-lengths": {"aiohttp"},
    "length-and-chunks": ASYNCHRONOUS,
    "signed-length": HTTPX | ASYNCHRONOUS,
    "many-more-headers": HTTPX | {"requests", "urllib3", "urllib.request"},
    "long-line": {"aiohttp"},
    "folded": {"httpx-async", "urllib.request"},
}
"""Where a parser is more strict than another, or a line goes on in the next one.

Equal lengths are taken by the mesh for one, whoever asks; a length that is not the one that counts
is no reason for http.client and h11 to refuse an answer, but for aiohttp's parser, which is that of
the mesh in an event loop; http.client, without one, takes a hundred headers at most, and a sign.
"""


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(told, outcomes, name, case):
    """Status, reason, version, headers in their case and order, body: as the library has them.

    Meant: the version of HTTP is that of the mesh, 1.1, and an interim answer is none.
    """
    path = f"/{case}"
    told(path, *ANSWERS[case])
    plain, mesh = outcomes("GET", path)
    if case in OLD:
        plain.version = mesh.version
    if case in INTERIM and name in HTTP_CLIENT_S:
        assert (200, b"hi") == (mesh.status, mesh.body)
    elif name in MEANT.get(case, ()):
        assert isinstance(mesh, Exception) or (200, b"hi") == (mesh.status, mesh.body)
    else:
        assert plain == mesh


@pytest.mark.parametrize("case", ["gzip", "error", "trailers"])
def test_head(told, outcomes, case):
    """Headers without a body."""
    told(f"/head-{case}", ANSWERS[case][0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    plain, mesh = outcomes("HEAD", f"/head-{case}")
    assert plain == mesh
    assert b"" == mesh.body
