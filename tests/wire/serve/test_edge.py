"""The edge listener: for those without a mesh identity, and only when it is asked for."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from meshlib.serve.options import Edge

ANYWHERE = Edge("127.0.0.1", 0)


async def who(scope, receive, send):
    """Answer with all the application was told about its caller."""
    if scope["type"] != "http":
        return
    state, headers = scope["state"], dict(scope["headers"])
    told = [state["mesh_peer"] and state["mesh_peer"].service, state["mesh_edge"]]
    told.append(b"x-mesh-peer" in headers)
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
def test_asgi_edge_requests_are_marked_and_have_no_peer(run, client, http) -> None:
    """Claims of identity are removed, the request is marked; the mesh listener is as ever."""
    with run(who, http=http, edge=ANYWHERE) as running:
        edge = client.plain(*running.where.edge)
        seen = client.ask(edge, "/", x__mesh__peer="admin")
        edge.close()
        beside = client.get(*running.address, "/")
    assert (200, b"[null, true, false]") == seen
    assert (200, b'["frontend", false, false]') == beside


def test_edge_health_tells_the_status_and_nothing_else(run, client) -> None:
    """A load balancer learns whether to send; a peer of the mesh learns who answers."""
    with run(who, edge=ANYWHERE) as running:
        edge = client.plain(*running.where.edge)
        outside = client.ask(edge, "/-/health")
        edge.close()
        inside = json.loads(client.get(*running.address, "/-/health")[1])
    leaf = running.credentials.value.leaf
    assert (200, b'{"status": "passing"}') == outside
    assert ("passing", "backend", "backend-1", "v7") == tuple(
        inside[key] for key in ("status", "service", "instance", "version")
    )
    assert leaf.spiffe_id == inside["certificate"]["spiffe_id"]
    assert leaf.not_after == inside["certificate"]["not_after"]
    assert [] == running.recorder.served


def test_edge_speaks_ordinary_tls_when_given_a_certificate(run, ca, tmp_path, client) -> None:
    """With certificate and key files the edge is HTTPS, without client certificates."""
    leaf = ca.leaf(dns=("localhost",), uris=())
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(leaf.chain_pem)
    key.write_bytes(leaf.key_pem)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=next(iter(ca.bundle.roots)))
    with run(who, edge=Edge("127.0.0.1", 0, str(cert), str(key))) as running:
        sock = socket.create_connection(running.where.edge, timeout=5)
        tls = context.wrap_socket(sock, server_hostname="localhost")
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        tls.sendall(request)
        answer = b""
        while chunk := tls.recv(4096):
            answer += chunk
        tls.close()
    assert b"[null, true, false]" in answer


def test_wsgi_edge_requests_are_marked_and_have_no_peer(spawn, client) -> None:
    """Under gunicorn one worker serves both listeners, and tells them apart."""
    _, host, port, side = spawn("wsgi", edge="127.0.0.1:0").wait_for("started")
    edge = client.plain(*side)
    outside = [client.ask(edge, "/") for _ in range(2)]
    edge.close()
    assert [(200, b"[null, true]")] * 2 == outside
    assert (200, b'["frontend", false]') == client.get(host, port, "/")


def test_without_an_edge_there_is_one_listener(run) -> None:
    """No plaintext listener exists unless it is asked for."""
    with run(who) as running:
        assert running.where.edge is None
        assert 1 == len(running.server.servers)
