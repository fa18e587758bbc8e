from __future__ import annotations

import logging
import random

import pytest

from meshlib.config import UpstreamConfig
from meshlib.control.directory import Directory
from meshlib.control.registry import Document
from meshlib.control.routes import Caller
from meshlib.model import Attempt, Bound, Call, Endpoint, Snapshot, Target, Verdict
from meshlib.observe.quiet import Quiet
from meshlib.policy.circuit import CircuitState
from meshlib.testing.clock import FakeClock
from meshlib.watch import Watch

V1 = Endpoint("a", "127.0.0.1", 1, meta={"version": "v1"})
V2 = Endpoint("b", "127.0.0.1", 2, meta={"version": "v2"})


class Source:
    """A control plane whose watches a test sets."""

    def __init__(self):
        self.followed: list[str] = []
        self.endpoint_watches: dict[str, Watch] = {}
        self.document_watches: dict[str, Watch] = {}

    def endpoints(self, service, datacenter=""):
        self.followed.append(f"{service}@{datacenter}" if datacenter else service)
        bound = Bound(Snapshot(service, (V1, V2)))
        return self.endpoint_watches.setdefault(self.followed[-1], Watch(bound, ready=True))

    def documents(self, service):
        return self.document_watches.setdefault(service, Watch((), ready=True))


@pytest.fixture
def source():
    """Where everything comes from."""
    return Source()


@pytest.fixture
def directory(source):
    """What is tested."""
    overrides = {"fixed": UpstreamConfig(timeout=1.0)}
    return Directory(source, clock=FakeClock(), rng=random.Random(1), overrides=overrides)


def chain(*, service="shop", subset="v2", of="stock", datacenter="dc1"):
    """The documents of a service that Consul leads to a subset of another one."""
    nodes = {"r": {"Type": "resolver", "Resolver": {"Target": "t"}}}
    there = {"Service": of, "ServiceSubset": subset, "Datacenter": datacenter}
    there["Subset"] = {"Filter": f"Service.Meta.version == {subset}"}
    body = {"ServiceName": service, "Datacenter": "dc1", "StartNode": "r", "Nodes": nodes}
    return (Document("discovery-chain", service, {**body, "Targets": {"t": there}}),)


def splitter(weight):
    """The documents of a service with two versions."""
    subsets = {name: {"Filter": f'Service.Meta.version == "{name}"'} for name in ("v1", "v2")}
    splits = [
        {"Weight": 100 - weight, "ServiceSubset": "v1"},
        {"Weight": weight, "ServiceSubset": "v2"},
    ]
    return (
        Document("service-resolver", "shop", {"DefaultSubset": "v1", "Subsets": subsets}),
        Document("service-splitter", "shop", {"Splits": splits}),
    )


def target(directory):
    """Where the next call goes."""
    return directory.destination("shop").table.value.choose(Call("shop"), random.Random(1))


def test_made_once(directory, source):
    """The same name is the same destination and upstream, followed once."""
    assert directory.destination("shop") is directory.destination("shop")
    assert directory.upstream("shop") is directory.destination("shop").upstream("shop")
    assert ["shop"] == source.followed


def test_documents_are_followed(directory, source):
    """A splitter that is written moves the next call."""
    assert Target("shop") == target(directory)
    source.document_watches["shop"].set(splitter(100))
    assert Target("shop", "v2") == target(directory)


def test_the_default_subset_is_who_names_none(directory, source):
    """A leg of another service that names no subset gets the default one."""
    directory.destination("shop")
    source.document_watches["shop"].set(splitter(50))
    picker = directory.upstream("shop").picker()
    assert {V1} == {picker.pick(Attempt(Call("shop"))).endpoint for _ in range(20)}


def test_a_bad_document_leaves_the_last_good_plan(directory, source, caplog):
    """What does not validate is refused, the last good one stays, and the reason is logged."""
    directory.destination("shop")
    source.document_watches["shop"].set(splitter(100))
    bad = Document("service-splitter", "shop", {"Splits": [{"Weight": 7, "ServiceSubset": "v1"}]})
    with caplog.at_level(logging.ERROR, "meshlib.config"):
        source.document_watches["shop"].set((splitter(0)[0], bad))
    assert Target("shop", "v2") == target(directory)
    assert "the last good ones stay" in caplog.text


def test_a_refused_document_is_an_event(source):
    """The listener hears which kind of document, of which service, and why."""
    heard = []

    class Ear(Quiet):
        def document_refused(self, kind, name, error):
            heard.append((kind, name, error.path))

    directory = Directory(
        source, clock=FakeClock(), rng=random.Random(1), overrides={}, listener=Ear()
    )
    directory.destination("shop")
    routes = [{"Match": {"HTTP": {"PathRegex": "("}}}]
    bad = Document("service-router", "shop", {"Routes": routes})
    source.document_watches["shop"].set((bad,))
    where = "service-router/shop.Routes[0].Match.HTTP.PathRegex"
    assert [("service-router", "shop", where)] == heard
    source.document_watches["shop"].set(splitter(100))
    assert Target("shop", "v2") == target(directory)
    assert 1 == len(heard)


def test_failover_lists_are_those_of_the_targets_service(directory, source):
    """By subset, else the star, else nowhere; of a service nobody called, nowhere."""
    lists = {"*": {"Service": "backup"}, "v2": {"ServiceSubset": "v1"}}
    body = {"Subsets": {"v1": {}, "v2": {}}, "Failover": lists}
    destination = directory.destination("shop")
    assert () == destination.failover(Target("shop"))
    source.document_watches["shop"].set((Document("service-resolver", "shop", body),))
    assert (Target("backup"),) == destination.failover(Target("shop"))
    assert (Target("shop", "v1"),) == destination.failover(Target("shop", "v2"))
    assert () == destination.failover(Target("stranger"))


def test_the_caller_is_known_to_the_routes(source):
    """Segments and the caller's name reach the table."""
    caller = Caller("web", {"staff": lambda call: call.path == "/staff"})
    directory = Directory(
        source, clock=FakeClock(), rng=random.Random(1), overrides={}, caller=caller
    )
    routes = [
        {"Name": "mine", "Match": {"Segments": ["staff"], "Sources": ["web"]}},
        {"Name": "theirs", "Match": {"PathPrefix": "/x", "Sources": ["batch"]}},
    ]
    table = directory.destination("shop").table
    source.document_watches["shop"].set((Document("traffic-policy", "shop", {"Routes": routes}),))
    assert "mine" == table.value.match(Call("shop", path="/staff")).name
    assert "default" == table.value.match(Call("shop", path="/x")).name


def test_settings_of_a_document_reach_the_destination(directory, source):
    """A traffic-policy is followed while the process runs."""
    destination = directory.destination("shop")
    budget = destination.budget.value
    policy = Document("traffic-policy", "shop", {"Timeout": "3s"})
    source.document_watches["shop"].set((policy,))
    assert 3.0 == destination.config.value.timeout
    assert budget is destination.budget.value


def test_code_beats_documents(directory, source):
    """What the program says of a service is not changed by a document."""
    destination = directory.destination("fixed")
    policy = Document("traffic-policy", "fixed", {"Timeout": "3s"})
    source.document_watches["fixed"].set((policy,))
    assert 1.0 == destination.config.value.timeout


def test_breakers_and_circuits_that_move_are_events(source):
    """With the names of service and endpoint or method, and the states as words."""
    heard = []

    class Ear(Quiet):
        def endpoint_moved(self, service, endpoint, before, after):
            heard.append((service, endpoint, before, after))

        def circuit_moved(self, service, method, before, after):
            heard.append((service, method, before, after))

    directory = Directory(
        source, clock=FakeClock(), rng=random.Random(1), overrides={}, listener=Ear()
    )
    breaker = directory.upstream("shop").states()[0].breaker
    for _ in range(5):
        breaker.report(breaker.permit, Verdict.FAILURE, connected=False)
    policy = Document("traffic-policy", "shop", {"Circuit": {}})
    destination = directory.destination("shop")
    source.document_watches["shop"].set((policy,))
    destination.guards.circuits.of("GET").force(CircuitState.FORCED_OPEN)
    assert [("shop", V1, "closed", "open"), ("shop", "GET", "closed", "forced_open")] == heard


def picked(directory, target):
    """The version that a call to a target gets; None: there is no such subset."""
    picker = directory.upstream(target.upstream).picker(target.subset)
    return None if picker is None else picker.pick(Attempt(Call("shop"))).endpoint.version


def test_subsets_of_others_come_with_the_chain(directory, source):
    """And when the chain changes, before anybody is led to them."""
    source.document_watches["shop"] = Watch(chain(subset="v1"), ready=True)
    destination = directory.destination("shop")
    seen = []
    table = destination.table
    table.subscribe(lambda: seen.append(picked(directory, table.value.targets[0])))
    source.document_watches["shop"].set(chain(subset="v2"))
    assert ["v1", "v2"] == seen


def test_a_datacentre_has_an_upstream_of_its_own(directory, source):
    """With the settings and subsets of the service."""
    source.document_watches["shop"] = Watch(chain(of="shop", datacenter="dc2"), ready=True)
    (there,) = directory.destination("shop").table.value.targets
    assert Target("shop", "v2", "dc2") == there
    assert "v2" == picked(directory, there)
    assert ["shop@dc2"] == source.followed
    assert directory.upstream("shop@dc2") is not directory.upstream("shop")
