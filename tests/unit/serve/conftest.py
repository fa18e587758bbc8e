"""Options whose every part is a recorder."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from meshlib.model import Identity
from meshlib.observe.quiet import Quiet
from meshlib.serve.admission import Connection
from meshlib.serve.options import AppOptions
from meshlib.testing.clock import FakeClock
from meshlib.trust.bundle import Credentials, LeafCert
from meshlib.watch import Watch

LEAF = LeafCert("spiffe://example.org/ns/default/dc/local/svc/backend", b"", b"", 0.0, 100.0)


@dataclass
class Spans(Quiet):
    """A tracer and a listener that write down what they are told."""

    begun: list = field(default_factory=list)
    ended: list = field(default_factory=list)
    served: list = field(default_factory=list)
    refused: list = field(default_factory=list)

    def serve(self, service, inbound):
        self.begun.append(inbound)
        return self

    def end(self, *, status=0, error=None, headers=None):
        self.ended.append((status, type(error)))

    def request_served(self, service, inbound, status, seconds):
        self.served.append((service, inbound.path, status, seconds))

    def request_refused(self, service, by, status):
        self.refused.append((by, status))


class Peer:
    """A peer that is trusted until the test says otherwise."""

    spiffe_id = "spiffe://example.org/ns/default/dc/local/svc/frontend"
    identity = Identity(spiffe_id, "frontend")
    der = b"certificate"
    trusted = True

    def still_trusted(self, credentials, now):
        assert isinstance(credentials, Credentials)
        assert 77.0 == now
        return self.trusted


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def connection(peer) -> Connection:
    return Connection(peer)


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def options(spans, clock) -> AppOptions:
    return AppOptions(
        service="backend",
        instance="backend-1",
        version="v7",
        credentials=Watch(Credentials(LEAF, {}), ready=True),
        tracer=spans,
        listener=spans,
        unix=lambda: 77.0,
        clock=clock,
    )
