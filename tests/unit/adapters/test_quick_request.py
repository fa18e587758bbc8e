"""A request that is written at once is the one that urllib3 would have written."""

from __future__ import annotations

import socket

import pytest
from multidict import CIMultiDict

from meshlib.adapters.body import BytesBody, StreamBody
from meshlib.adapters.engine_sync import _Connection, _headers
from meshlib.adapters.quick_request import quick_request
from meshlib.model import EMPTY_BODY, Attempt, Call

_HOST = ("Host", "shop")
_BYTES = BytesBody(b"body")


def attempt(method="GET", path="/", query="", headers=(_HOST,), body=EMPTY_BODY, **added):
    call = Call("shop", method, path, query, CIMultiDict(headers), body)
    return Attempt(call, headers=added)


def written(attempt):
    """What urllib3 sends for the engine."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = _Connection("127.0.0.1", 1)
        connection.sock = ours
        headers, body = _headers(attempt), attempt.call.body
        content = (body.content or None) if isinstance(body, BytesBody) else None
        connection.request(attempt.call.method, headers.target, content, headers)
        ours.shutdown(socket.SHUT_WR)
        with theirs.makefile("rb") as stream:
            return stream.read()


SAME = {
    "get": attempt(),
    "query": attempt(path="/a%20b", query="q=1&r=%C3%A4"),
    "many headers": attempt(headers=[_HOST, ("X-A", "a: b"), ("accept", "*/*"), ("E", "")]),
    "of the attempt": attempt(**{"x-budget": "3", "traceparent": "00-1-2-01"}),
    "rewritten": attempt(),
    "changed headers": attempt(),
    "empty post": attempt("POST"),
    "empty bytes": attempt("PUT", body=BytesBody(b"")),
    "delete": attempt("DELETE"),
    "own method": attempt("purge"),
    "body": attempt("POST", body=_BYTES),
    "body of a get": attempt(body=_BYTES),
    "body with a length": attempt("POST", headers=[_HOST, ("content-length", "4")], body=_BYTES),
    "own user agent": attempt(headers=[_HOST, ("User-Agent", "me"), ("Accept-Encoding", "gzip")]),
}
SAME["rewritten"].call.sent_path = "/elsewhere"
SAME["changed headers"].call.sent_headers = CIMultiDict([("host", "other"), ("x-new", "1")])


@pytest.mark.parametrize("of", SAME.values(), ids=SAME)
def test_the_same_bytes(of):
    """Every byte is where urllib3 puts it."""
    assert written(of) == quick_request(of)


@pytest.mark.parametrize(
    "of",
    [
        attempt("GET\r\nX: y"),
        attempt("G T"),
        attempt(path=""),
        attempt(path="*"),
        attempt(path="/a b"),
        attempt(path="/ä"),
        attempt(path="/\r\nX: y"),
        attempt(query="a\nb"),
        attempt(headers=[]),
        attempt(headers=[("X", "a")]),
        attempt(headers=[_HOST, ("X", "a\r\nY: b")]),
        attempt(headers=[_HOST, ("X", "a\n")]),
        attempt(headers=[_HOST, ("X", "ä")]),
        attempt(headers=[_HOST, ("X", "a\0")]),
        attempt(headers=[_HOST, ("X: y\r\nZ", "a")]),
        attempt(headers=[_HOST, ("X:", "a")]),
        attempt(headers=[_HOST, ("", "a")]),
        attempt(headers=[_HOST, ("A", "1"), ("B", "2"), ("a", "3")]),
        attempt(headers=[_HOST, ("X-Budget", "1")], **{"x-budget": "2"}),
        attempt(headers=[_HOST, ("Transfer-Encoding", "chunked")]),
        attempt("POST", body=StreamBody([b"a"])),
        attempt("POST", body=BytesBody(b"a" * 70_000)),
    ],
)
def test_what_is_left_to_urllib3(of):
    """Whatever may not be sent, is sent in another order, or takes its time."""
    assert quick_request(of) is None
