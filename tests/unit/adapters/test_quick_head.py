"""The quick reader of heads says what http.client says, of every head there is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse, RemoteDisconnected

import pytest

from meshlib.adapters.quick_head import QuickResponse

_OK = b"HTTP/1.1 200 OK\r\n"
_LENGTH = b"Content-Length: 2\r\n"
_HEADS = [
    _OK + _LENGTH,
    _OK + b"x-a:1\r\nX-A: \t2 \r\nSet-Cookie: a=b; Path=/\r\nEmpty:\r\n" + _LENGTH,
    b"HTTP/1.1 404 Not  Found \r\n" + _LENGTH,
    b"HTTP/1.1 200\r\n" + _LENGTH,
    b"HTTP/1.1 200 \r\n" + _LENGTH,
    b"HTTP/1.1  200 OK\r\n" + _LENGTH,
    b"HTTP/1.1 204 No Content\r\n" + _LENGTH,
    b"HTTP/1.1 304 Not Modified\r\n" + _LENGTH,
    b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + _LENGTH,
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n",
    b"HTTP/1.1 099 Early\r\n" + _LENGTH,
    b"HTTP/1.1 2000 Many\r\n" + _LENGTH,
    b"HTTP/1.0 200 OK\r\n" + _LENGTH,
    b"HTTP/2 200 OK\r\n" + _LENGTH,
    b"ICY 200 OK\r\n" + _LENGTH,
    _OK,
    _OK + b"Content-Length: 2\r\nContent-Length: 1\r\n",
    _OK + b"Content-Length: -2\r\n",
    _OK + b"Content-Length: +2\r\n",
    _OK + b"Content-Length: 2, 2\r\n",
    _OK + b"Content-Length: 0x2\r\n",
    _OK + b"Content-Length: 1_0\r\n",
    _OK + b"Content-Length: 2 \r\n",
    _OK + b"Content-Length:\r\n",
    _OK + b"Content-Length: " + b"9" * 40 + b"\r\n",
    _OK + _LENGTH + b"Connection: close\r\n",
    _OK + _LENGTH + b"Connection: keep-alive\r\n",
    _OK + _LENGTH + b"Transfer-Encoding: chunked\r\n",
    _OK + b"transfer-encoding: Chunked\r\n",
    _OK + b"X: a\r\n folded\r\n" + _LENGTH,
    _OK + b" leading: a\r\n" + _LENGTH,
    _OK + b"No colon\r\n" + _LENGTH,
    _OK + b"Space : a\r\n" + _LENGTH,
    _OK + b": nameless\r\n" + _LENGTH,
    _OK + b"X: a\nY: b\r\n" + _LENGTH,
    _OK + b"X: a\rY: b\r\n" + _LENGTH,
    _OK + b"X: a\0b\r\n" + _LENGTH,
    _OK + b"X: gr\xfc\xdfe\x85\r\n" + _LENGTH,
    _OK + b"Content-Type: multipart/mixed; boundary=x\r\n" + _LENGTH,
    _OK + b"".join(b"X-%d: a\r\n" % each for each in range(95)) + _LENGTH,
    _OK + b"".join(b"X-%d: a\r\n" % each for each in range(105)) + _LENGTH,
    _OK + b"X: " + b"a" * 70_000 + b"\r\n" + _LENGTH,
    _OK + b"X: " + b"a" * 20_000 + b"\r\n" + _LENGTH,
]
_CUT = [b"", b"HTT"]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection, with room for a long head."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with ours, theirs:
        yield ours, theirs


def _told(kind: type[HTTPResponse], sent: bytes, method: str) -> object:
    """All that is known of a reply once it is read, or what was raised."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.sendall(sent)
        theirs.close()
        with kind(ours, method=method) as response:
            try:
                response.begin()
                framing = (response.chunked, response.length, response.will_close)
                return _head(response), framing, response.read()
            except (HTTPException, OverflowError) as exc:
                return type(exc), str(exc)


def _head(response: HTTPResponse) -> object:
    fields = list(response.headers.raw_items())
    return response.status, vars(response)["code"], response.reason, response.version, fields


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("sent", [*(each + b"\r\nhi" for each in _HEADS), *_CUT])
def test_same_as_http_client(sent: bytes, method: str) -> None:
    """Whatever the head, both tell the same: fields, framing, body, and what they raise."""
    assert _told(HTTPResponse, sent, method) == _told(QuickResponse, sent, method)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("sent", [_OK, _OK + _LENGTH, _OK + b"X: a"])
def test_half_a_head(sent: bytes, method: str) -> None:
    """It is no reply, where http.client takes the end of the connection for that of the head."""
    assert (RemoteDisconnected, "Remote end closed connection in the middle of a head") == _told(
        QuickResponse, sent, method
    )


def test_head_in_parts(pair: tuple[socket.socket, socket.socket]) -> None:
    """A head of which only a part has come loses nothing of it."""
    ours, theirs = pair
    theirs.sendall(_OK + b"X: a\r")
    with QuickResponse(ours, method="GET") as response:
        assert response.fp.peek().endswith(b"a\r")
        theirs.sendall(b"\n" + _LENGTH + b"\r\nhi")
        response.begin()
        assert [("X", "a"), ("Content-Length", "2")] == list(response.headers.raw_items())
        assert b"hi" == response.read()


def test_begun_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """To begin again takes nothing of the body, which may look like a head."""
    ours, theirs = pair
    body = _OK + _LENGTH + b"\r\n"
    theirs.sendall(_OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    theirs.close()
    with QuickResponse(ours, method="GET") as response:
        response.begin()
        response.begin()
        assert body == response.read()


def test_plain_head_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain head never meets http.client's own parser."""

    def slow(_: HTTPResponse) -> None:
        message = "http.client was asked"
        raise AssertionError(message)

    monkeypatch.setattr(HTTPResponse, "begin", slow)
    told = _told(QuickResponse, _HEADS[1] + b"\r\nhi", "GET")
    assert isinstance(told, tuple)
    assert b"hi" == told[-1]
