"""What a server tells its listener of requests the application never sees."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import pytest

from meshlib.config import ConcurrencyConfig, QuotaConfig, RatesConfig, ServingConfig, ShedConfig
from meshlib.config import SharedRatesConfig as Shared
from meshlib.errors import MeshError
from meshlib.observe.quiet import Quiet
from meshlib.policy.rates import Visitor
from meshlib.serve.asgi import CONNECTION, MeshASGI
from meshlib.serve.limits import Gate
from meshlib.serve.wsgi import ForeignServer, MeshWSGI
from meshlib.testing.clock import FakeClock
from meshlib.watch import Watch

VISITOR = Visitor("a", "frontend", "GET", "/")
ONE = QuotaConfig(limit=1, per=1e6)


class Ear(Quiet):
    """Writes down what it hears."""

    def __init__(self):
        self.heard = []

    def request_refused(self, service, by, status):
        self.heard.append((service, by, status))

    def rates_counted(self, service, *, alone):
        self.heard.append((service, alone))


class Fickle:
    """A store that answers when it is told to."""

    up = False

    def __init__(self, config):
        pass

    def take(self, asked):
        if not self.up:
            raise MeshError("gone")

    def close(self):
        pass


@pytest.fixture
def ear():
    """Who listens."""
    return Ear()


@pytest.fixture
def clock():
    """Time, moved by hand."""
    return FakeClock()


@pytest.fixture
def gate(ear, clock):
    """A gate with settings."""

    def make(**config):
        return Gate(
            Watch(ServingConfig(**config), ready=True),
            clock=clock,
            rng=random.Random(1),
            store=Fickle,
            instances=lambda: 1,
            service="shop",
            listener=ear,
        )

    return make


def test_a_rate(gate, ear):
    """The second of one is one too many."""
    made = gate(rate=RatesConfig(total=ONE))
    assert [None, 429] == [t and t.status for t in (made.turned(VISITOR, 3) for _ in range(2))]
    assert [("shop", "rate", 429)] == ear.heard


def test_a_shed_request(gate, ear):
    """Overload is why."""
    made = gate(shed=ShedConfig())
    made.turned(VISITOR, 7)
    for _ in range(20):
        made.shedder.measured(lag=9.0, cpu=0.0)
    assert 503 == made.turned(VISITOR, 7).status
    assert [("shop", "shed", 503)] == ear.heard


def test_no_place(gate, ear):
    """The limit of concurrency is why."""
    made = gate(concurrency=ConcurrencyConfig(limit=1))
    first, second = made.place(), made.place()
    first.leave(200)
    assert 503 == second.status
    assert [("shop", "concurrency", 503)] == ear.heard


def test_a_store_that_comes_and_goes(gate, ear, clock):
    """Its loss is told once, what is refused meanwhile each time, and its return once."""
    made = gate(shared_rate=Shared(url="redis://127.0.0.1:1/0", total=ONE))
    for _ in range(3):
        made.turned_by_all(VISITOR)
    refused = ("shop", "shared-rate", 429)
    assert [("shop", True), refused, refused] == ear.heard
    Fickle.up = True
    clock.advance(60.0)
    try:
        made.turned_by_all(VISITOR)
    finally:
        Fickle.up = False
    assert ("shop", False) == ear.heard[-1]


async def _never(*_):
    pytest.fail("the application was asked")


def ask(app, connection, *headers):
    """Send one request; the status of the answer."""
    sent = []

    async def send(message):
        sent.append(message)

    about = {"type": "http", "path": "/", "raw_path": b"/", "headers": [(b"host", b"b"), *headers]}
    asyncio.run(app({**about, "state": {CONNECTION: connection}}, None, send))
    return sent[0]["status"]


def test_a_request_that_is_not_one_of_ours(options, spans):
    """Admission refuses it, in both worlds."""
    assert 421 == ask(MeshASGI(_never, options), None)
    app = MeshWSGI(_never, options)
    app.transport = ForeignServer()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "b"}
    list(app(environ, lambda *_: None))
    assert [("admission", 421)] * 2 == spans.refused


def test_a_request_that_comes_too_late(options, spans, connection):
    """Nobody waits for it any more: it is refused once, and served as a 504."""
    late = (b"x-mesh-deadline-ms", b"0")
    assert 504 == ask(MeshASGI(_never, dataclasses.replace(options)), connection, late)
    assert [("deadline", 504)] == spans.refused
    assert [504] == [status for _, _, status, _ in spans.served]
