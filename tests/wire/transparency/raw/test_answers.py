"""What an application answers over a bare socket, byte by byte, alone and in the mesh."""

from __future__ import annotations

import itertools

import pytest

HEAD = b"Host: shop\r\nConnection: close\r\n"
LAST = b"GET /chunks HTTP/1.1\r\n" + HEAD + b"\r\n"


def asked(path, method=b"GET", version=b"1.1"):
    """A request that keeps the connection, and the last one, which shows that it was kept."""
    return method + b" " + path + b" HTTP/" + version + b"\r\nHost: shop\r\n\r\n"


@pytest.mark.parametrize(
    ("code", "length"), [*itertools.product((200, 204, 205, 206, 304, 404, 599), (b"", b"0", b"7"))]
)
def test_statuses_and_lengths(same, code, length):
    """With a length, without, and with one that the status does not allow."""
    path = b"/status/%d/%s" % (code, length)
    for method in (b"GET", b"HEAD"):
        said = same(asked(path, method), LAST)
        assert said.startswith((b"HTTP/1.1 %d" % code, b"HTTP/1.1 500")) or not said


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_headers(same, method):
    """Case, order, repetition, empty values, latin-1 and long ones leave as they do without."""
    said = same(asked(b"/odd", method), LAST)
    assert 2 == said.lower().count(b"\r\nset-cookie: ")
    assert b"caf\xe9" in said


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_bodies_without_a_length(same, version):
    """In chunks, or until the end of the connection: as the server does it without."""
    said = same(asked(b"/chunks", version=version), *([LAST] if version == b"1.1" else []))
    assert b"two" in said


def test_http_1_0_that_is_kept(same):
    """A connection of HTTP/1.0 is kept, or not, as without."""
    assert same(b"GET /odd HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\n\r\n" + LAST)


@pytest.mark.parametrize("when", [b"before", b"after", b"within", b"never"])
def test_an_application_that_fails(same, when):
    """Before the answer, after its head, within its body; or it never ends what it began."""
    said = same(asked(b"/fails/" + when))
    assert said.startswith((b"HTTP/1.1 500", b"HTTP/1.1 200")) or when in {b"never", b"after"}


def test_an_answer_that_is_too_short(same):
    """The connection ends, as without."""
    assert same(asked(b"/short")).endswith(b"short")


def test_early_hints(same):
    """103 comes where the server knows of it."""
    assert b"hinted" in same(asked(b"/hints"), LAST)


def test_trailers(same):
    """Where the server knows of them."""
    said = same(b"GET /trailers HTTP/1.1\r\nTE: trailers\r\n" + HEAD + b"\r\n")
    assert b"body" in said


EXPECTING = (
    b" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
    b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
)


def test_expect(pair, read_until):
    """100 comes when the application reads, and not before."""
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"POST /tells" + EXPECTING)
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
            sock.sendall(b"body")
            assert read_until(sock, b"\r\n\r\n4").startswith(b"HTTP/1.1 200")
            assert 4 == place.app.seen.get(timeout=9)


def test_expectations_that_are_refused(same):
    """The answer comes without the body."""
    said = same(b"POST /early" + EXPECTING)
    assert b"HTTP/1.1 413" in said  # hypercorn says 100 before it asks the application


@pytest.mark.parametrize("expected", [b"200-ok", b"100-CONTINUE"])
def test_other_expectations(same, expected):
    """Are the server's matter."""
    head = b"POST /tells HTTP/1.1\r\nExpect: " + expected + b"\r\n" + HEAD
    same(head + b"Content-Length: 4\r\n\r\nbody")


def test_a_refusal_while_the_body_is_sent(pair):
    """Arrives although most of the body was never sent."""
    for place in pair:
        with place.connect() as sock:
            sock.sendall(
                b"POST /early HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000000\r\n\r\n"
            )
            sock.sendall(b"x" * 1000)
            assert b"HTTP/1.1 413" == sock.recv(12)
