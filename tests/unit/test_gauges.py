"""What a mesh shows of what it knows now."""

from __future__ import annotations

import random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshlib import Mesh, Metrics
from meshlib.config import (
    CircuitConfig,
    ConcurrencyConfig,
    OutlierConfig,
    ServingConfig,
    ShedConfig,
    UpstreamConfig,
)
from meshlib.control.directory import Directory
from meshlib.gauges import Known, add_gauges
from meshlib.model import Attempt, Bound, Call, Neg, Snapshot, Verdict
from meshlib.policy.circuit import CircuitState
from meshlib.serve.limits import Gate
from meshlib.testing.clock import FakeClock
from meshlib.testing.script import endpoints
from meshlib.trust.bundle import Credentials, LeafCert
from meshlib.watch import Watch

SETTINGS = UpstreamConfig(
    circuit=CircuitConfig(),
    concurrency=ConcurrencyConfig(limit=7),
    outlier=OutlierConfig(connect_failures=1),
)


class Control:
    """Knows one service of ten endpoints, and how old that is."""

    def endpoints(self, service):
        ten = Bound(Snapshot("shop", endpoints(*range(1, 11))))
        return Watch(ten if service == "shop" else Neg(("shop",)), ready=True)

    def documents(self, service):
        return Watch((), ready=True)

    def age(self, service):
        return 4.5

    def overdue(self, service):
        return service == "web"


@pytest.fixture
def directory():
    """Where the shop and a name that is none were called."""
    made = Directory(
        Control(),
        clock=FakeClock(),
        rng=random.Random(1),
        overrides={"shop": SETTINGS, "nonsense": SETTINGS},
    )
    for name in ("shop", "nonsense"):
        made.destination(name)
        made.upstream(name)
    return made


@pytest.fixture
def page(directory):
    """All samples of a mesh that has made `made`."""
    gate = Gate(
        Watch(ServingConfig(concurrency=ConcurrencyConfig(limit=3), shed=ShedConfig()), ready=True),
        clock=FakeClock(),
        rng=random.Random(1),
        store=lambda config: None,
        instances=lambda: 1,
    )
    leaf = LeafCert("spiffe://example.org/x", b"", b"", 10.0, 20.0)
    made = {
        "_directory": directory,
        "_gate": gate,
        "control": Control(),
        "credentials": Watch(Credentials(leaf, {}), ready=True),
    }
    metrics = Metrics()
    add_gauges(metrics.registry, Known("web", "v2", lambda: "web-1", made))

    def read():
        return {
            (sample.name.removeprefix("meshlib_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(metrics.text())
            for sample in family.samples
        }

    return read


def test_endpoints_by_their_breakers(directory, page):
    """All states are there, also those that nobody is in; panic shows."""
    states = directory.upstream("shop").states()
    for state in states[:6]:
        state.breaker.report(state.breaker.permit, Verdict.FAILURE, connected=False)
    found = page()
    counts = [found["endpoints", "shop", state] for state in ("closed", "open", "half-open")]
    assert [4, 6, 0] == counts
    assert 1 == found["panicking", "shop"]


def test_what_is_pending(directory, page):
    """Over all endpoints."""
    for _ in range(2):
        directory.upstream("shop").picker().pick(Attempt(Call("shop")))
    assert (2, 0) == (page()["attempts_pending", "shop"], page()["panicking", "shop"])


def test_age_and_budget(page):
    """Of each service that was called."""
    found = page()
    assert 4.5 == found["snapshot_age_seconds", "shop"]
    assert 100 == found["retry_budget", "shop"]


def test_circuits_by_state(directory, page):
    """Each method has one."""
    circuits = directory.destination("shop").guards.circuits
    circuits.of("GET")
    circuits.of("POST").force(CircuitState.FORCED_OPEN)
    found = page()
    assert (1, 1) == (found["circuits", "shop", "closed"], found["circuits", "shop", "forced_open"])


def test_concurrency_of_both_sides(directory, page):
    """The limit of calls, and that of requests."""
    assert directory.destination("shop").guards.concurrency.try_acquire()
    found = page()
    assert (7, 1) == tuple(
        found[f"concurrency_{what}", "shop", "client"] for what in ("limit", "in_flight")
    )
    assert (3, 0) == tuple(
        found[f"concurrency_{what}", "web", "server"] for what in ("limit", "in_flight")
    )


def test_what_it_says_of_itself(page):
    """Name, version, certificate, and whether it sheds."""
    found = page()
    assert 1 == found["info", "web", "web-1", "v2"]
    assert 10 == found["certificate_not_before_timestamp_seconds", "web"]
    assert 20 == found["certificate_not_after_timestamp_seconds", "web"]
    assert 1 == found["certificate_overdue", "web"]
    assert 8 == found["shed_line", "web"]


def test_a_name_that_is_no_service_is_not_shown(page):
    """Or whoever can name a host could fill the page."""
    assert not [key for key in page() if "nonsense" in key]


def test_looking_makes_nothing(home):
    """A page of a mesh that has done nothing opens no file and starts no thread."""
    with Mesh("web") as mesh:
        assert "meshlib_info" in mesh.metrics.text()
        assert {"_directory", "_gate", "control", "credentials"}.isdisjoint(mesh.__dict__)
    assert [] == list(home.iterdir())
