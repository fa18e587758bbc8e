"""Who is at the other end, as the application sees it, under every server."""

from __future__ import annotations

import json
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from meshlib.trust.bundle import Credentials
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import member_of
from meshlib.watch import Watch

HELLO = b"GET / HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n"

WORLDS = [
    pytest.param(http, loop, id=f"{http}-{loop}")
    for http in ("h11", "httptools", "hypercorn")
    for loop in ("asyncio", "uvloop")
]


async def who(scope, receive, send):
    """Answer with all the application was told about its caller."""
    if scope["type"] != "http":
        return
    state = scope["state"]
    told = {
        "peer": state["mesh_peer"] and [state["mesh_peer"].spiffe_id, state["mesh_peer"].service],
        "edge": state["mesh_edge"],
        "tls": scope.get("extensions", {}).get("tls", {}).get("spiffe_id"),
        "headers": sorted(name.decode() for name, _ in scope["headers"]),
    }
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(("http", "loop"), WORLDS)
def test_asgi_application_sees_its_peer(run, client, ca, http, loop) -> None:
    """The verified SPIFFE id is in the state and in the tls extension."""
    with run(who, http=http, loop=loop) as running:
        status, body = client.get(*running.address, "/")
    told = json.loads(body)
    assert 200 == status
    assert [ca.id_of("frontend"), "frontend"] == told["peer"]
    assert ca.id_of("frontend") == told["tls"]
    assert told["edge"] is False


def test_wsgi_application_sees_its_peer(spawn, client) -> None:
    """Under gthread the peer is in the environ, request after request of one connection."""
    child = spawn("wsgi", workers=1, threads=2)
    _, host, port, _ = child.wait_for("started")
    connection = client.open(host, port)
    answers = []
    for _ in range(2):
        connection.request("GET", "/")
        answers.append(json.loads(connection.getresponse().read()))
    connection.close()
    assert [["frontend", False]] * 2 == answers


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
def test_claims_of_identity_do_not_reach_the_application(run, client, http) -> None:
    """Headers that name a caller are removed in every spelling, all others stay."""
    claims = {
        "X__Forwarded__Client__Cert": "URI=spiffe://example.org/admin",
        "x_SPIFFE__id": "spiffe://example.org/admin",
        "x__mesh__peer": "admin",
        "X_Mesh_Anything": "1",
        "x__request__id": "kept",
    }
    with run(who, http=http) as running:
        _, body = client.get(*running.address, "/", **claims)
    names = json.loads(body)["headers"]
    assert ["accept-encoding", "host", "x-request-id"] == names


def _answer_to(address, context) -> bytes:
    """What a client with this TLS context (None: plaintext) is answered."""
    with socket.create_connection(address, timeout=5) as sock, suppress(OSError):
        if context is None:
            sock.sendall(HELLO)
            return sock.recv(65536)
        with context.wrap_socket(sock, server_hostname="backend") as tls:
            tls.sendall(HELLO)
            return tls.recv(65536)
    return b""


@pytest.fixture
def strangers(ca, foreign_ca):
    """TLS contexts of those who do not belong here."""
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    # shows a leaf of the foreign CA, trusts the true one
    leaf = foreign_ca.credentials("frontend").leaf
    mixed = Credentials(leaf, ca.credentials("frontend").bundles, 1)
    foreign = MeshContext(
        Watch(mixed, ready=True),
        server_side=False,
        authorize=member_of("example.org"),
        clock=time.time,
    )
    return {"plaintext": None, "without a certificate": nobody, "foreign CA": foreign}


@pytest.mark.parametrize("stranger", ["plaintext", "without a certificate", "foreign CA"])
def test_strangers_get_no_byte_from_uvicorn(run, strangers, stranger) -> None:
    """Whoever does not pass the handshake gets not one byte of answer."""
    with run(who) as running:
        assert b"" == _answer_to(running.address, strangers[stranger])
    assert [] == running.recorder.served


def test_strangers_get_no_byte_from_gunicorn(spawn, client, strangers) -> None:
    """Whoever does not pass the handshake gets not one byte of answer, and nobody else suffers."""
    child = spawn("wsgi", threads=2)
    _, host, port, _ = child.wait_for("started")
    for context in strangers.values():
        assert b"" == _answer_to((host, port), context)
    assert 200 == client.get(host, port, "/")[0]


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
def test_a_connection_outlives_its_trust_by_not_one_request(run, client, ca, http) -> None:
    """Once the root behind a live connection is gone, the next request on it is 421, the last."""
    with run(who, http=http) as running:
        connection = client.open(*running.address)
        assert 200 == client.ask(connection, "/")[0]
        leaf = running.credentials.value.leaf
        running.credentials.set(Credentials(leaf, {}, 2))
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (421, "close") == (response.status, response.headers["connection"])
        connection.close()


@pytest.mark.parametrize("http", ["h11", "hypercorn"])
def test_a_rotation_needs_no_restart(run, client, ca, http) -> None:
    """A new connection is shown the new certificate; one that lives goes on."""
    with run(who, http=http) as running:
        before = client.open(*running.address)
        assert 200 == client.ask(before, "/")[0]
        renewed = replace(ca.credentials("backend"), generation=2)
        running.credentials.set(renewed)
        after = client.open(*running.address)
        assert [200, 200] == [client.ask(each, "/")[0] for each in (before, after)]
        shown = [each.sock.getpeercert(binary_form=True) for each in (before, after)]
        before.close()
        after.close()
    assert shown[0] != shown[1]
