"""The gate in front of both kinds of application."""

from __future__ import annotations

import asyncio
import random

import pytest

from meshlib.config import (
    ConcurrencyConfig,
    QuotaConfig,
    RatesConfig,
    RouteQuotaConfig,
    ServingConfig,
    ShedConfig,
)
from meshlib.errors import MeshError
from meshlib.model import Identity
from meshlib.policy.priority import current_priority
from meshlib.policy.rates import Visitor
from meshlib.serve.gated import GatedASGI, GatedWSGI
from meshlib.serve.limits import Gate, Turned
from meshlib.testing.clock import FakeClock
from meshlib.watch import Watch

PEER = Identity("spiffe://mesh/ns/default/dc/local/svc/frontend", "frontend")


class NoStore:
    """A store nobody asked for."""

    def __init__(self, config):
        message = f"no store is made for {config}"
        raise MeshError(message)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def config():
    """What the gate follows."""
    return Watch(ServingConfig(), ready=True)


@pytest.fixture
def gate(config, clock):
    made = Gate(config, clock=clock, rng=random.Random(1), store=NoStore, instances=lambda: 1)
    yield made
    made.close()


def scope(path="/", *, priority=3, peer=PEER, kind="http", **more):
    state = {"mesh_peer": peer, "mesh_priority": priority}
    return {"type": kind, "method": "GET", "path": path, "state": state, **more}


async def send_all(app, about):
    """Serve one request; what was sent."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    await app(about, receive, send)
    return sent


def asgi_status(gate, about=None, app=None):
    """The status and headers of one request through the gate."""

    async def hello(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    start, *_ = asyncio.run(send_all(GatedASGI(app or hello, gate), about or scope()))
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}


def wsgi_status(gate, environ=None, app=None):
    """The same for WSGI."""
    started = []

    def start_response(status, headers):
        started.append((int(status[:3]), dict(headers)))

    def hello(_environ, start):
        start("200 OK", [])
        return [b"hello"]

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "mesh.peer": PEER,
        "mesh.priority": 3,
        **(environ or {}),
    }
    body = GatedWSGI(app or hello, gate)(environ, start_response)
    list(body)
    close = getattr(body, "close", None)
    if close:
        close()
    return started[0]


BOTH = pytest.mark.parametrize("status_of", [asgi_status, wsgi_status], ids=["asgi", "wsgi"])


@BOTH
def test_without_limits_everything_passes(gate, status_of):
    """And nothing is asked."""
    assert not gate.active
    assert 200 == status_of(gate)[0]


@BOTH
def test_a_429_says_when_to_come_again(gate, config, status_of):
    """Retry-After for everybody, and the fields of the draft."""
    config.set(ServingConfig(rate=RatesConfig(total=QuotaConfig(limit=1, per=30))))
    assert 200 == status_of(gate)[0]
    status, headers = status_of(gate)
    assert 429 == status
    assert "30" == headers["retry-after"]
    assert ('"total";q=1;w=30', '"total";r=0;t=30') == (
        headers["ratelimit-policy"],
        headers["ratelimit"],
    )


@BOTH
def test_what_documents_say_is_followed(gate, config, status_of):
    """Switched on and off while it runs, without forgetting what was counted in between."""
    strict = RatesConfig(total=QuotaConfig(limit=1, per=30))
    config.set(ServingConfig(rate=strict))
    assert [200, 429] == [status_of(gate)[0] for _ in range(2)]
    config.set(ServingConfig(rate=strict, concurrency=ConcurrencyConfig(limit=5)))
    assert 429 == status_of(gate)[0]
    config.set(ServingConfig())
    assert 200 == status_of(gate)[0]


def test_each_caller_has_its_own(gate, config):
    """By proven identity; on the edge by address."""
    config.set(ServingConfig(rate=RatesConfig(per_caller=QuotaConfig(limit=1, per=30))))
    other = Identity("spiffe://mesh/ns/default/dc/local/svc/batch", "batch")
    edge = scope(peer=None, client=("10.0.0.1", 5))
    assert [200, 429, 200, 200, 429] == [
        asgi_status(gate, about)[0] for about in (scope(), scope(), scope(peer=other), edge, edge)
    ]


@BOTH
def test_a_route_of_its_own(gate, config, status_of):
    """What is at or below it."""
    route = RouteQuotaConfig(path="/slow", limit=1, per=30)
    config.set(ServingConfig(rate=RatesConfig(routes=(route,))))
    about = scope("/slow/x") if status_of is asgi_status else {"PATH_INFO": "/slow/x"}
    assert [200, 429] == [status_of(gate, about)[0] for _ in range(2)]
    assert 200 == status_of(gate)[0]


def test_concurrency_in_asgi(gate, config):
    """The second of two at a time is told to come again in a second; then there is room."""
    config.set(ServingConfig(concurrency=ConcurrencyConfig(limit=1)))
    inner = []

    async def outer(about, receive, send):
        if not inner:
            inner.append(None)
            inner.append(await send_all(GatedASGI(outer, gate), scope()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert 200 == asgi_status(gate, app=outer)[0]
    start = inner[1][0]
    assert (503, True) == (start["status"], (b"retry-after", b"1") in start["headers"])
    assert 0 == gate.concurrency.in_flight
    assert 200 == asgi_status(gate, app=outer)[0]


def test_concurrency_in_wsgi(gate, config):
    """A place is kept until the server closes the answer."""
    config.set(ServingConfig(concurrency=ConcurrencyConfig(limit=1)))

    def hello(_environ, start):
        start("200 OK", [])
        return iter([b"hello"])

    environ = {"REQUEST_METHOD": "GET", "mesh.peer": PEER, "mesh.priority": 3}
    body = GatedWSGI(hello, gate)(dict(environ), lambda *_: None)
    assert 503 == wsgi_status(gate)[0]
    body.close()
    assert (200, 0) == (wsgi_status(gate)[0], gate.concurrency.in_flight)


@BOTH
def test_a_bug_gives_its_place_back(gate, config, status_of):
    """What the application raises is passed on, and nothing stays counted."""
    config.set(ServingConfig(concurrency=ConcurrencyConfig(limit=1)))

    def broken(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        status_of(gate, app=broken)
    assert 0 == gate.concurrency.in_flight


@BOTH
def test_shedding(gate, config, status_of):
    """Under overload the ordinary request is turned away and the urgent one is not."""
    config.set(ServingConfig(shed=ShedConfig(interval=1000.0)))
    for _ in range(100):
        gate.shedder.refuses(3)
        gate.shedder.measured(lag=9.0, cpu=0.0)
    urgent = scope(priority=0) if status_of is asgi_status else {"mesh.priority": 0}
    assert (200, 503) == (status_of(gate, urgent)[0], status_of(gate)[0])


@BOTH
def test_the_priority_of_a_request_is_that_of_its_calls(gate, status_of):
    """Within the application, and not after it."""
    seen = []

    async def asgi(_scope, _receive, send):
        seen.append(current_priority())
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def wsgi(_environ, start):
        seen.append(current_priority())
        start("200 OK", [])
        return []

    if status_of is asgi_status:
        asgi_status(gate, scope(priority=1), asgi)
    else:
        wsgi_status(gate, {"mesh.priority": 1}, wsgi)
    assert ([1], 3) == (seen, current_priority())


def test_workers_share_the_limits_of_an_instance(gate, config):
    """Each of four has a quarter."""
    config.set(
        ServingConfig(
            rate=RatesConfig(total=QuotaConfig(limit=8, per=60)),
            concurrency=ConcurrencyConfig(limit=40),
        )
    )
    gate.divide(4)
    visitor = Visitor("a", "", "GET", "/")
    turned = [gate.turned(visitor, 3) for _ in range(3)]
    assert [None, None] == turned[:2]
    assert isinstance(turned[2], Turned)
    assert 10 == gate.concurrency.limit


def test_a_websocket_is_turned_away_at_its_handshake(gate, config):
    """With an answer where the server can send one, with "try again later" where not."""
    config.set(ServingConfig(rate=RatesConfig(total=QuotaConfig(limit=1, per=30))))
    asgi_status(gate)
    app = GatedASGI(None, gate)
    extended = scope(kind="websocket", extensions={"websocket.http.response": {}})
    start, body = asyncio.run(send_all(app, extended))
    assert ("websocket.http.response.start", 429) == (start["type"], start["status"])
    assert b"rate limit" in body["body"]
    (close,) = asyncio.run(send_all(app, scope(kind="websocket")))
    assert ("websocket.close", 1013) == (close["type"], close["code"])


def test_the_adaptive_limit_learns_from_what_is_served(gate, config, clock):
    """Answers of the application are its samples."""
    config.set(
        ServingConfig(concurrency=ConcurrencyConfig(samples=2, window=0.001, initial=2, most=50))
    )

    def app(_environ, start):
        clock.advance(0.01)
        start("200 OK", [])
        return []

    for _ in range(20):
        wsgi_status(gate, app=app)
    assert gate.concurrency.limit >= 2
    assert "baseline 10 ms" in repr(gate.concurrency._gradient)


@pytest.mark.parametrize(
    ("edge", "said", "believed"),
    [(False, "1", 1), (False, "9", 3), (False, "-1", 3), (False, None, 3), (True, "0", 3)],
)
def test_only_peers_of_the_mesh_are_believed(options, connection, edge, said, believed):
    """Known bug, spoofed mesh headers: the edge may say what it likes, and the name is removed."""
    from meshlib.serve.admission import Connection
    from meshlib.serve.asgi import CONNECTION, MeshASGI
    from meshlib.serve.wsgi import MeshWSGI

    caller = Connection(None, edge=True) if edge else connection
    seen = []

    async def asgi(about, _receive, _send):
        seen.append(about["state"]["mesh_priority"])
        assert not [name for name, _ in about["headers"] if name.startswith(b"x-mesh")]

    headers = [(b"host", b"backend"), *([(b"x-mesh-priority", said.encode())] if said else [])]
    about = {"type": "http", "path": "/", "raw_path": b"/", "headers": headers, "state": {}}
    asyncio.run(send_all(MeshASGI(asgi, options), {**about, "state": {CONNECTION: caller}}))

    def wsgi(environ, _start):
        seen.append(environ["mesh.priority"])
        assert "HTTP_X_MESH_PRIORITY" not in environ
        return []

    class Server:
        def connection_of(self, _environ):
            return caller

        def close_after(self, _environ):
            pass

    app = MeshWSGI(wsgi, options)
    app.transport = Server()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "backend"}
    list(app({**environ, **({"HTTP_X_MESH_PRIORITY": said} if said else {})}, lambda *_: None))
    assert [believed, believed] == seen


def test_who_is_turned_away_is_seen_by_everybody(options, connection, spans, gate, config):
    """A 429 has its span and its place in the metrics, like any answer."""
    import dataclasses

    from meshlib.serve.asgi import CONNECTION, MeshASGI

    config.set(ServingConfig(rate=RatesConfig(total=QuotaConfig(limit=1, per=1e6))))
    app = MeshASGI(_hello, dataclasses.replace(options, gate=gate))
    about = {"type": "http", "path": "/", "raw_path": b"/", "headers": [(b"host", b"backend")]}
    for _ in range(2):
        asyncio.run(send_all(app, {**about, "state": {CONNECTION: connection}}))
    assert [200, 429] == [status for _, _, status, _ in spans.served]


async def _hello(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
