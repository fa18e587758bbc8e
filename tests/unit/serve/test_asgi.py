from __future__ import annotations

import asyncio
import json
import logging

import pytest

from meshlib.model import Identity
from meshlib.serve.admission import Connection
from meshlib.serve.asgi import CONNECTION, MeshASGI
from meshlib.serve.stages import Stage


async def hello(scope, receive, send):
    """Answer "hello" in two pieces."""
    await send({"type": "http.response.start", "status": 201, "headers": [(b"connection", b"x")]})
    await send({"type": "http.response.body", "body": b"hel", "more_body": True})
    await send({"type": "http.response.body", "body": b"lo"})


def scope_of(connection, **changes):
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"password=hunter2",
        "headers": [(b"host", b"backend"), (b"x-a", b"1"), (b"x-a", b"2")],
        "client": ("127.0.0.1", 1234),
        "state": {CONNECTION: connection, "from": "lifespan"},
        **changes,
    }


def call(app, scope, *inbox):
    """What the server is told when it calls `app`."""
    sent, queue = [], list(inbox)

    async def receive():
        return queue.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def test_the_answer_passes_unchanged(options, connection) -> None:
    """Every message reaches the server as the very object the application sent."""
    messages = []

    async def app(scope, receive, send):
        for body in (b"1", b"2"):
            messages.append({"type": "http.response.body", "body": body, "more_body": True})
            await send(messages[-1])

    sent = call(MeshASGI(app, options), scope_of(connection))
    assert [id(message) for message in messages] == [id(message) for message in sent]


def test_the_application_sees_peer_and_state(options, connection, peer) -> None:
    """The peer is beside what the lifespan put into the state; the server's scope is untouched."""
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    scope = scope_of(connection)
    call(MeshASGI(app, options), scope)
    assert peer.identity == seen["state"]["mesh_peer"]
    assert "lifespan" == seen["state"]["from"]
    assert {"spiffe_id": peer.spiffe_id, "client_cert_der": peer.der} == seen["extensions"]["tls"]
    assert "mesh_peer" not in scope["state"]


def test_one_span_and_one_report_a_request(options, connection, spans, clock) -> None:
    """Path as sent and without the query, status of the answer, seconds until its last byte."""

    async def app(scope, receive, send):
        clock.advance(2.0)
        await hello(scope, receive, send)
        clock.advance(9.0)  # what is done after the answer is nobody's latency

    call(MeshASGI(app, options), scope_of(connection))
    assert [(201, type(None))] == spans.ended
    assert [("backend", "/a%20b", 201, 2.0)] == spans.served
    (inbound,) = spans.begun
    assert "2" == inbound.headers["x-a"]
    assert {"host": "backend", "x-a": "2"} == dict(inbound.headers)
    assert (Identity(inbound.peer.spiffe_id, "frontend"), False) == (inbound.peer, inbound.edge)


def test_the_access_log_has_one_line_without_secrets(options, connection, caplog) -> None:
    """Who, what, how it ended, how long it took; no query string."""
    with caplog.at_level(logging.INFO, "meshlib.access"):
        call(MeshASGI(hello, options), scope_of(connection))
    assert ["peer=frontend method=GET path=/a%20b status=201 ms=0.0"] == caplog.messages


def test_an_error_is_reported_and_passed_on(options, connection, spans) -> None:
    """The server answers 500 for the application, and hears why."""

    async def broken(scope, receive, send):
        raise LookupError

    app = MeshASGI(broken, options)
    with pytest.raises(LookupError):
        call(app, scope_of(connection))
    assert [(500, LookupError)] == spans.ended
    assert 0 == app.in_flight


def test_a_disconnect_is_status_0(options, connection, spans) -> None:
    """Whoever hung up before the answer was complete got no status."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert "http.disconnect" == (await receive())["type"]

    call(MeshASGI(app, options), scope_of(connection), {"type": "http.disconnect"})
    assert [(0, type(None))] == spans.ended


def test_a_disconnect_after_the_answer_is_none(options, connection, spans) -> None:
    """Servers say http.disconnect also when all is well and over."""

    async def app(scope, receive, send):
        await hello(scope, receive, send)
        await receive()

    call(MeshASGI(app, options), scope_of(connection), {"type": "http.disconnect"})
    assert [(201, type(None))] == spans.ended


def test_only_the_closing_stage_ends_connections(options, connection) -> None:
    """The lame duck serves as if nothing had happened; afterwards every answer is the last."""
    app = MeshASGI(hello, options)
    app.stages.advance(Stage.LAME_DUCK)
    assert [(b"connection", b"x")] == call(app, scope_of(connection))[0]["headers"]
    app.stages.advance(Stage.CLOSING)
    assert [(b"connection", b"close")] == call(app, scope_of(connection))[0]["headers"]


def test_a_foreign_server_gets_421_for_everything(options, spans) -> None:
    """Without mesh TLS beneath it the application is never called, not even for its health."""
    for path in (b"/", b"/-/health"):
        start, body = call(MeshASGI(hello, options), scope_of(None, raw_path=path))
        assert 421 == start["status"]
        assert (b"connection", b"close") in start["headers"]
        assert body["body"].count(b"\n") == 1
    assert [] == spans.begun


def test_a_foreign_server_without_state_gets_421(options) -> None:
    """`state` is optional in ASGI."""
    scope = scope_of(None)
    del scope["state"], scope["raw_path"]
    assert 421 == call(MeshASGI(hello, options), scope)[0]["status"]


def test_a_refused_websocket_is_closed(options, spans) -> None:
    """1008, or the true answer where the server can send one."""
    scope = scope_of(None, type="websocket")
    app = MeshASGI(hello, options)
    (closed,) = call(app, scope, {"type": "websocket.connect"})
    assert ("websocket.close", 1008) == (closed["type"], closed["code"])
    scope["extensions"] = {"websocket.http.response": {}}
    start, _ = call(app, scope, {"type": "websocket.connect"})
    assert ("websocket.http.response.start", 421) == (start["type"], start["status"])
    assert [] == spans.begun


def test_the_health_of_a_draining_server(options, connection, spans) -> None:
    """503 and "draining", without a span, for peers with all particulars."""
    app = MeshASGI(hello, options)
    app.stages.advance(Stage.LAME_DUCK)
    start, body = call(app, scope_of(connection, raw_path=b"/-/health"))
    page = json.loads(body["body"])
    assert 503 == start["status"]
    assert ("draining", "backend-1") == (page["status"], page["instance"])
    assert 100.0 == page["certificate"]["not_after"]
    assert [] == spans.begun


def test_the_edge_is_marked(options) -> None:
    """No peer, and told apart from a peer that is missing."""
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope["state"], extensions=scope.get("extensions"))

    call(MeshASGI(app, options), scope_of(Connection(None, edge=True)))
    assert (None, True, None) == (seen["mesh_peer"], seen["mesh_edge"], seen["extensions"])
