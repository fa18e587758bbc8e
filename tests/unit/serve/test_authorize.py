"""Intentions, asked for every request, in front of either kind of application."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import pytest

from meshlib.config import ServingConfig
from meshlib.model import Identity
from meshlib.observe.quiet import Quiet
from meshlib.route.match import PathTest
from meshlib.route.text import How, Named, Text
from meshlib.serve.admission import Connection
from meshlib.serve.asgi import CONNECTION, MeshASGI
from meshlib.serve.authorize import DENIED, Authorization
from meshlib.serve.wsgi import MeshWSGI
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.permission import Permission
from meshlib.watch import Watch

BODY = f"{DENIED.reason}\n".encode()
ADMIN = Permission(False, PathTest(Text(How.PREFIX, "/admin")))
TWICE = Permission(False, headers=(Named("x-a", Text(How.EXACT, "1,2,3")),))


class Denials(Quiet):
    """Writes down who was denied."""

    def __init__(self):
        self.heard = []

    def request_denied(self, service, inbound, rule, *, enforced):
        self.heard.append((service, inbound.path, rule, enforced))


@pytest.fixture
def denials() -> Denials:
    return Denials()


@pytest.fixture
def intentions() -> Watch[IntentionSet]:
    return Watch(of(Intention("frontend", "backend", allow=False)), ready=True)


@pytest.fixture
def serving() -> Watch[ServingConfig]:
    return Watch(ServingConfig(), ready=True)


@pytest.fixture
def guarded(options, intentions, serving, denials):
    """Options with the intentions above."""
    guard = Authorization("backend", intentions, serving, options.credentials, denials)
    return dataclasses.replace(options, authorization=guard)


def of(*rules: Intention, allow: bool = True) -> IntentionSet:
    return IntentionSet("backend", rules, allow)


def looking(*permissions: Permission) -> IntentionSet:
    return of(Intention("frontend", "backend", permissions=permissions))


def asgi(options, connection, path="/a", kind="http"):
    """Status and body of a request to an application that answers 200 "hello"."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "headers": [(b"host", b"backend"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x_a", b"3")],
        "state": {CONNECTION: connection},
    }
    if kind == "http":
        scope["method"] = "GET"
    asyncio.run(MeshASGI(app, options)(scope, receive, send))
    return sent


def asked_asgi(options, connection, path="/a"):
    start, body = asgi(options, connection, path)
    assert (b"connection", b"close") not in start["headers"]
    return start["status"], body["body"]


def asked_wsgi(options, connection, path="/a"):
    class Transport:
        def connection_of(self, environ):
            return connection

        def close_after(self, environ):
            raise AssertionError

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    started = []
    mesh = MeshWSGI(app, options)
    mesh.transport = Transport()
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "RAW_URI": path,
        "HTTP_HOST": "backend",
        "HTTP_X_A": "1,2,3",
    }
    answer = mesh(environ, lambda status, headers: started.append(status))
    body = b"".join(answer)
    answer.close()
    return int(started[0][:3]), body


@pytest.fixture(params=[asked_asgi, asked_wsgi], ids=["asgi", "wsgi"])
def ask(request, guarded, connection):
    """Send a request to a guarded application."""

    def send(path="/a", by=connection):
        return request.param(guarded, by, path)

    return send


def test_a_denied_request_is_403(ask, denials, spans):
    """One sentence that names no rule; the connection stays, span and metrics have it too."""
    assert (403, BODY) == ask()
    assert [("backend", "/a", "frontend -> backend", True)] == denials.heard
    assert [(403, type(None))] == spans.ended
    assert ["/a"] == [path for _, path, _, _ in spans.served]


def test_the_next_request_follows_a_change(ask, intentions):
    """On the same connection, in both directions."""
    assert 403 == ask()[0]
    intentions.set(of(Intention("frontend", "backend", allow=True)))
    assert (200, b"hello") == ask()
    intentions.set(IntentionSet.unknown("backend"))
    assert 403 == ask()[0]


def test_who_was_let_in_is_looked_at_again(ask, intentions, serving, options, denials):
    """What is remembered of a connection is forgotten with anything that decided it."""
    intentions.set(of(Intention("frontend", "backend", allow=True), allow=False))
    assert [200, 200] == [ask()[0], ask()[0]]
    ours = options.credentials.value
    moved = dataclasses.replace(ours.leaf, spiffe_id="spiffe://elsewhere.org/svc/backend")
    options.credentials.set(dataclasses.replace(ours, leaf=moved))
    assert 403 == ask()[0]
    options.credentials.set(ours)
    assert 200 == ask()[0]
    intentions.set(looking(ADMIN))
    assert [200, 403] == [ask()[0], ask("/admin")[0]]
    serving.set(ServingConfig(authorization="audit"))
    assert 200 == ask("/admin")[0]
    assert [True, True, False] == [enforced for *_, enforced in denials.heard]


def test_permissions_look_at_the_request(ask, intentions):
    """Path as applications read it, and all headers of one name, with `_` for `-` as well."""
    intentions.set(looking(ADMIN))
    assert [200, 403, 403, 403] == [
        ask(path)[0] for path in ("/a", "/admin", "/%61dmin", "/x/../admin")
    ]
    intentions.set(looking(TWICE))
    assert 403 == ask()[0]


def test_audit_lets_through_and_tells(ask, serving, denials):
    """To see what a rule would do before it does."""
    serving.set(ServingConfig(authorization="audit"))
    assert (200, b"hello") == ask()
    assert [("backend", "/a", "frontend -> backend", False)] == denials.heard


def test_the_edge_is_not_asked(ask, denials):
    """Who has no identity has no intentions."""
    assert 200 == ask(by=Connection(None, edge=True))[0]
    assert [] == denials.heard


def test_a_name_given_by_another_trust_domain_is_nobody(ask, intentions, peer):
    """It is not the service of that name here, whatever its id says."""
    intentions.set(of(Intention("frontend", "backend", allow=True), allow=False))
    assert 200 == ask()[0]
    for domain in ("elsewhere.org", "example.org.evil", "example.or"):
        theirs = f"spiffe://{domain}/ns/default/dc/local/svc/frontend"
        peer.identity = Identity(theirs, "frontend")
        assert 403 == ask(by=Connection(peer))[0], domain


def test_health_is_answered_to_every_peer(guarded, connection):
    """Probing is not calling."""
    assert 200 == asgi(guarded, connection, "/-/health")[0]["status"]


def test_a_denied_websocket_is_closed(guarded, connection, spans):
    """Before it is accepted."""
    (closed,) = asgi(guarded, connection, kind="websocket")
    assert ("websocket.close", DENIED.reason) == (closed["type"], closed["reason"])
    assert [(403, type(None))] == spans.ended


def test_each_caller_and_rule_is_logged_once(ask, intentions, serving, caplog):
    """A line for the operator that names the rule; a caller that tries on does not fill the log."""
    with caplog.at_level(logging.WARNING, "meshlib.authorization"):
        for _ in range(3):
            ask()
        assert 1 == len(caplog.messages)
        assert "the intention frontend -> backend says deny" in caplog.messages[0]
        intentions.set(looking(ADMIN))
        ask("/admin")
        serving.set(ServingConfig(authorization="audit"))
        ask("/admin")
    assert ["denied", "denied", "would deny"] == [
        message.partition(" GET")[0] for message in caplog.messages
    ]
