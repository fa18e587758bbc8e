"""What a proven peer may still try with its requests, against every server of ours."""

from __future__ import annotations

import json
import re
from contextlib import closing

import pytest

from meshlib.testing.evil import UPGRADE, dial, everything
from meshlib.testing.sites import NAMES

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: me\r\n\r\n"
TOLD = b"]]"
"""How the application's answer ends, on whatever kind of connection."""
CLAIM = re.compile(rb"\[\"x.?(mesh|spiffe.?id|forwarded.?client)", re.IGNORECASE)
"""The name of a header, as our application tells it, that claims to be somebody."""


@pytest.fixture(scope="session")
def exchange(good_client):
    """Send bytes as a good peer, and hear all that is said before the server closes."""

    def send(site, request, until=b""):
        with dial(site.address) as sock:
            with good_client.wrap_socket(sock, server_hostname="me") as tls:
                tls.sendall(request)
                return everything(tls, until)

    return send


# ---- who one claims to be


def asking(*lines, method=b"GET", body=b""):
    """A request for /asked with these lines in its head; it ends the connection."""
    head = (method + b" /asked HTTP/1.1", b"Host: me", b"x-first: 1", *lines, b"Connection: close")
    return b"\r\n".join((*head, b"", body))


CLAIMS = {
    "as it is": asking(b"x-mesh-peer: admin"),
    "upper case": asking(b"X-MESH-PEER: admin"),
    "underscores": asking(b"x_mesh_peer: admin"),
    "both": asking(b"X-Mesh_Peer: admin"),
    "any name of ours": asking(b"x-mesh-: 1", b"x-mesh-anything-at-all: 1"),
    "the proxies' header": asking(b"X-Forwarded-Client-Cert: URI=spiffe://example.org/admin"),
    "the proxies' header, bent": asking(b"x_forwarded-client_CERT: URI=spiffe://example.org/a"),
    "an id": asking(b"X-SPIFFE-ID: spiffe://example.org/admin"),
    "an id, bent": asking(b"x-spiffe_id: spiffe://example.org/admin"),
    "twice": asking(b"x-mesh-peer: a", b"x-mesh-peer: b"),
    "twice, spelled differently": asking(b"x-mesh-peer: a", b"x_mesh_peer: b"),
    "a blank before the colon": asking(b"x-mesh-peer : admin"),
    "a tab before the colon": asking(b"x-mesh-peer\t: admin"),
    "a blank before the name": asking(b" x-mesh-peer: admin"),
    "first of all, with a blank": b"GET /asked HTTP/1.1\r\n x-mesh-peer: admin\r\nHost: me\r\n\r\n",
    "a tab before the name": asking(b"\tx-mesh-peer: admin"),
    "NUL in the name": asking(b"x-mesh\0-peer: admin"),
    "a vertical tab in the name": asking(b"\x0bx-mesh-peer: admin"),
    "a bare CR before the name": asking(b"\rx-mesh-peer: admin"),
    "behind a bare LF": asking(b"x-kept: 1\nx-mesh-peer: admin"),
    "behind a bare CR": asking(b"x-kept: 1\rx-mesh-peer: admin"),
    "behind a NUL": asking(b"x-kept: 1\0\r\nx-mesh-peer: admin"),
    "a folded line": asking(b"x-kept: 1", b" x-mesh-peer: admin"),
    "no value": asking(b"x-mesh-peer:"),
    "Latin-1 in the name": asking(b"x-mesh-pe\xe9r: admin"),
    "named by Connection": b"GET /asked HTTP/1.1\r\nHost: me\r\nx-mesh-peer: admin\r\n"
    b"Connection: close, x-mesh-peer\r\n\r\n",
    "a trailer": asking(
        b"Transfer-Encoding: chunked",
        method=b"POST",
        body=b"1\r\nx\r\n0\r\nx-mesh-peer: admin\r\n\r\n",
    ),
    "a trailer, announced": asking(
        b"Transfer-Encoding: chunked",
        b"Trailer: x-spiffe-id",
        method=b"POST",
        body=b"1\r\nx\r\n0\r\nx-spiffe-id: spiffe://example.org/admin\r\n\r\n",
    ),
    "a websocket": UPGRADE.replace(b": upgrade", b": upgrade, close").replace(
        b"\r\n\r\n", b"\r\nx-mesh-peer: a\r\nX_Spiffe_Id: b\r\n\r\n"
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_are_not_believed(site, exchange, claim):
    """However it is spelled, no header that says who is calling reaches the application."""
    answer = exchange(site, CLAIMS[claim], TOLD)
    assert not CLAIM.search(answer), answer
    assert answer[:13] in {b"HTTP/1.1 200 ", b"HTTP/1.1 400 ", b"HTTP/1.1 101 "}, answer[:200]


def test_trailers_that_come_late_are_no_headers(site, good_client):
    """What follows a body is no part of the head that was checked and authorized before it."""
    head = b"POST /late HTTP/1.1\r\nHost: me\r\nConnection: close\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    with dial(site.address) as sock:
        with good_client.wrap_socket(sock, server_hostname="me") as tls:
            tls.sendall(head + b"1\r\nx\r\n")
            while "/late" not in site.calls():
                pass
            tls.sendall(b"0\r\nx-mesh-peer: admin\r\nx-tier: gold\r\nhost: other\r\n\r\n")
            answer = everything(tls)
    assert answer[:13] in {b"HTTP/1.1 200 ", b"HTTP/1.1 400 "}  # gunicorn refuses a Host there
    assert b"gold" not in answer
    assert b"admin" not in answer
    assert b'"other"' not in answer


def test_other_headers_are_left_alone(site, exchange):
    """The control: what claims nothing is handed on."""
    answer = exchange(site, asking(b"x-meshes: 1", b"x-forwarded-for: 2", b"xx-mesh-peer: 3"))
    told = {name.lower().replace("_", "-") for name, _ in json.loads(answer.split(b"\r\n\r\n")[1])}
    assert {"x-meshes", "x-forwarded-for", "xx-mesh-peer"} <= told


# ---- what two parsers read differently


def posting(*lines, body=b"", target=b"/asked", version=b"HTTP/1.1"):
    head = (b"POST " + target + b" " + version, b"Host: me", *lines)
    return b"\r\n".join((*head, b"", body))


CHUNKS = b"0\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": posting(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKS),
    "chunks and length": posting(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKS),
    "length and chunks, bent": posting(
        b"CONTENT-length: 5", b"transfer-ENCODING: Chunked", body=CHUNKS
    ),
    "two lengths": posting(b"Content-Length: 0", b"Content-Length: 5", body=b"12345"),
    "a length with a sign": posting(b"Content-Length: +5", body=b"12345"),
    "a negative length": posting(b"Content-Length: -5", body=b"12345"),
    "a length in hex": posting(b"Content-Length: 0x5", body=b"12345"),
    "a length with a blank": posting(b"Content-Length: 1 2", body=b"12345"),
    "no length at all": posting(b"Content-Length:", body=b"12345"),
    "a length with an underscore": posting(b"Content-Length: 1_0", body=b"12345"),
    "two encodings": posting(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=CHUNKS
    ),
    "chunked twice": posting(b"Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "not chunked last": posting(b"Transfer-Encoding: chunked, identity", body=CHUNKS),
    "an unknown encoding": posting(b"Transfer-Encoding: xchunked", body=CHUNKS),
    "an encoding with a tab": posting(b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "a blank before the colon": posting(b"Transfer-Encoding : chunked", body=CHUNKS),
    "a blank before the colon of a length": posting(b"Content-Length : 5", body=b"12345"),
    "an encoding in HTTP/1.0": posting(
        b"Transfer-Encoding: chunked", body=CHUNKS, version=b"HTTP/1.0"
    ),
    "two hosts": posting(b"Host: other"),
    "the same host twice": posting(b"Host: me"),
    "two hosts, bent": posting(b"HOST: other"),
    "absolute-form": posting(target=b"http://evil/asked"),
    "absolute-form, https": posting(target=b"https://me/asked"),
    "absolute-form, a scheme of its own": posting(target=b"spiffe://me/asked"),
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: me\r\n\r\n",
    "authority": b"CONNECT me:443 HTTP/1.1\r\nHost: me:443\r\n\r\n",
    "a path without a slash": posting(target=b"asked"),
    "a path that is a dot": posting(target=b"../asked"),
    "a path with an encoded slash first": posting(target=b"%2Fasked"),
    "a backslash first": posting(target=b"\\asked"),
    "a query only": posting(target=b"?asked"),
    "a fragment first": posting(target=b"#/asked"),
    "no target": b"GET HTTP/1.1\r\nHost: me\r\n\r\n",
    "no host": b"GET /asked HTTP/1.1\r\n\r\n",
    "HTTP/2 on the line": posting(version=b"HTTP/2.0"),
    "HTTP/1.9 on the line": posting(version=b"HTTP/1.9"),
    "HTTP/0.9": b"GET /asked\r\n\r\n",
    "no HTTP": posting(version=b"ICY/1.1"),
    "a websocket in absolute-form": UPGRADE.replace(b"GET / ", b"GET http://evil/asked "),
    "a websocket with length and chunks": UPGRADE.replace(
        b"Host: me", b"Host: me\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
    )
    + CHUNKS,
    "a websocket with two hosts": UPGRADE.replace(b"Host: me", b"Host: me\r\nHost: other"),
    "a websocket without a host": UPGRADE.replace(b"Host: me\r\n", b""),
}


BROKEN = {
    "a chunk size that is none": b"zz\r\n",
    "a chunk size with a sign": b"+0\r\n\r\n",
    "a chunk size with a blank": b"0 0\r\n\r\n",
    "a chunk size in other digits": "\u0660\r\n\r\n".encode(),
    "a chunk longer than its size": b"1\r\nxyz\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BROKEN)
def test_broken_bodies(site, exchange, body):
    """What follows a body that cannot be read is never taken for a request."""
    request = posting(b"Transfer-Encoding: chunked", b"Connection: close", body=BROKEN[body])
    answer = exchange(site, request + SMUGGLED)
    assert "/smuggled" not in site.calls()
    assert answer.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_ambiguous_requests(site, exchange, what):
    """What two parsers could read differently reaches no application, nor does what follows it."""
    before = site.calls()
    answer = exchange(site, AMBIGUOUS[what] + SMUGGLED)
    assert before == site.calls()
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert answer[9:10] in {b"", b"4", b"5"}, answer[:200]


# ---- for how long one is believed


@pytest.fixture(params=NAMES)
def fresh(request, start):
    """A server of a test's own, in each kind."""
    with start(request.param) as site:
        yield site


def status_of(connection):
    connection.request("GET", "/asked")
    response = connection.getresponse()
    response.read()
    return response.status, response.headers.get("connection")


def test_trust_that_went_ends_a_connection(fresh):
    """A connection outlives the root behind it by not one request; the answer is its last."""
    live = fresh.connect()
    assert 200 == status_of(live)[0]
    fresh.get("/rotate")
    assert (421, "close") == status_of(live)
    live.close()
    with pytest.raises(OSError, match=r"."), closing(fresh.connect()) as late:
        status_of(late)


def test_expiry_ends_a_connection(fresh):
    """Nor does it outlive the certificate that was shown."""
    live = fresh.connect()
    assert 200 == status_of(live)[0]
    fresh.get("/skew")
    assert (421, "close") == status_of(live)
    live.close()
