"""Endpoints of a real Consul: health, weights, drain, datacentres, rights, and many services."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from meshlib.control.consul.discovery import ConsulDiscovery
from meshlib.model import Bound, Failed, Neg
from meshlib.route.filter import compile_filter

PATIENCE = 20.0


class Seen:
    """Waits for a watch to have a value."""

    def __init__(self, watch):
        self.watch, self.changed, self.told = watch, threading.Condition(), 0
        watch.subscribe(self.tell)

    def tell(self):
        with self.changed:
            self.told += 1
            self.changed.notify_all()

    def until(self, happened):
        """Wait until it has happened to the value; returns that."""
        with self.changed:
            done = self.changed.wait_for(
                lambda: self.watch.ready and happened(self.watch.value), PATIENCE
            )
        assert done, self.watch
        return self.watch.value

    def until_ids(self, *ids):
        """Wait for exactly these endpoints."""
        bound = self.until(lambda value: isinstance(value, Bound) and list(ids) == ids_of(value))
        return {each.id: each for each in bound.snapshot.endpoints}


def ids_of(bound):
    return [each.id for each in bound.snapshot.endpoints]


def register(client, service, id_, port=8443, **more):
    """A Connect-native instance with a TTL check that passes."""
    ttl = {"CheckID": id_, "TTL": "10m", "Status": "passing"}
    body = {"Name": service, "ID": id_, "Port": port, "Connect": {"Native": True}, "Check": ttl}
    client.put("/v1/agent/service/register", {**body, **more})


def state(client, id_, status):
    client.put(f"/v1/agent/check/update/{id_}", {"Status": status})


@pytest.fixture
def events():
    """What was told."""
    return []


@pytest.fixture
def follow(events):
    """Makes a discovery, closed afterwards."""
    made = []

    def make(client, **options):
        discovery = ConsulDiscovery(client, event=lambda *event: events.append(event), **options)
        made.append(discovery)
        return discovery

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=[6, 0], ids=["fine", "coarse"])
def discovery(request, follow, client):
    """A query for each service, or triggers for all: nobody shall notice."""
    return follow(client, fine=request.param)


def test_health_and_weights(discovery, client, name):
    """Passing, warning, critical, maintenance, gone: what Envoy would be told, at once."""
    a, b = f"{name}-a", f"{name}-b"
    seen = Seen(discovery.endpoints(name))
    seen.until(lambda value: isinstance(value, Neg) and name not in value.known)
    weights = {"Passing": 8, "Warning": 2}
    register(client, name, a, Meta={"version": "v1", "zone": "z1"}, Tags=["blue"])
    seen.until_ids(a)
    register(client, name, b, 8444, Weights=weights)
    known = seen.until_ids(a, b)
    assert ((1, "z1"), 8) == ((known[a].weight, known[a].locality.zone), known[b].weight)
    assert compile_filter('Service.Tags contains blue and Node.Node == "agent"')(known[a])
    state(client, b, "warning")
    warned = seen.until(lambda value: [1, 2] == [e.weight for e in value.snapshot.endpoints])
    assert [False, True] == [each.warning for each in warned.snapshot.endpoints]
    state(client, b, "critical")
    seen.until_ids(a)
    state(client, b, "passing")
    seen.until_ids(a, b)
    client.put(f"/v1/agent/service/maintenance/{a}", enable="true")
    seen.until_ids(b)
    for each in (a, b):
        client.put(f"/v1/agent/service/deregister/{each}")
    seen.until_ids()
    assert discovery.endpoints(name) is seen.watch


def test_a_change_that_no_check_shows(discovery, client, name):
    """Another port and meta: seen at once by a query, and soon by whoever reads on suspicion."""
    seen = Seen(discovery.endpoints(name))
    register(client, name, name)
    seen.until_ids(name)
    register(client, name, name, 9999, Meta={"version": "v2"})
    changed = seen.until(lambda value: 9999 == value.snapshot.endpoints[0].port)
    assert "v2" == changed.snapshot.endpoints[0].version


def test_a_node_that_is_ill_takes_its_instances_with_it(discovery, client, name):
    """Its check belongs to no service, and counts for all on it."""
    node = f"{name}-node"
    service = {"ID": name, "Service": name, "Port": 80, "Connect": {"Native": True}}
    there = {"Node": node, "Address": "127.0.0.9"}
    client.put("/v1/catalog/register", {**there, "Service": service})
    seen = Seen(discovery.endpoints(name))
    assert "127.0.0.9" == seen.until_ids(name)[name].host
    for status, ids in (("critical", ()), ("passing", (name,))):
        check = {"Node": node, "CheckID": "disk", "Name": "disk", "Status": status}
        client.put("/v1/catalog/register", {**there, "Check": check})
        seen.until_ids(*ids)


def test_what_concerns_others_wakes_nobody(discovery, client, name):
    """Neither another service, nor another word of one's own check."""
    seen = Seen(discovery.endpoints(name))
    register(client, name, name)
    seen.until_ids(name)
    told = seen.told
    register(client, f"{name}-other", f"{name}-other")
    client.put(f"/v1/agent/check/update/{name}", {"Status": "passing", "Output": "still well"})
    state(client, name, "critical")
    seen.until_ids()
    assert told + 1 == seen.told


def test_sidecars_are_endpoints_too(discovery, client, name):
    """`health/connect` answers with what speaks for the service."""
    proxy = {"DestinationServiceName": name, "DestinationServiceID": name}
    body = {"Kind": "connect-proxy", "Proxy": proxy, "Port": 21000}
    client.put("/v1/agent/service/register", {"Name": name, "ID": name, "Port": 80})
    sidecar = f"{name}-sidecar-proxy"
    client.put("/v1/agent/service/register", {"Name": sidecar, "ID": sidecar, **body})
    seen = Seen(discovery.endpoints(name))
    assert 21000 == seen.until_ids(sidecar)[sidecar].port
    assert name in discovery.services()
    assert sidecar not in discovery.services()


def test_a_service_that_is_not_in_the_mesh_is_known(discovery, client, name):
    """It has no endpoint for us, but it is no stranger."""
    client.put("/v1/agent/service/register", {"Name": name, "ID": name, "Port": 80})
    Seen(discovery.endpoints(name)).until(lambda value: isinstance(value, Bound))
    assert name in discovery.services()
    assert "consul" not in discovery.services()


def test_the_change_to_triggers_loses_nothing(follow, client, name):
    """One after the other comes in, while all of them change."""
    discovery = follow(client, fine=2)
    names = [f"{name}-{number}" for number in range(6)]
    watched = {}
    for each in names:
        register(client, each, each)
        watched[each] = Seen(discovery.endpoints(each))
        for known in watched:
            state(client, known, "critical")
    for each in names:
        watched[each].until_ids()
        state(client, each, "passing")
        watched[each].until_ids(each)
    assert all(discovery.age(each) is not None for each in names)


def test_many_services_cost_few_connections(follow, own_agent, name):
    """Sixty followed, four connections; and a change of one is still seen."""
    names = [f"{name}-{number}" for number in range(60)]
    with own_agent.client() as client:
        for each in names:
            register(client, each, each)
        before = connections()
        discovery = follow(client, fine=0)
        watched = [Seen(discovery.endpoints(each)) for each in names]
        for each, seen in zip(names, watched, strict=True):
            seen.until_ids(each)
        state(client, names[-1], "critical")
        watched[-1].until_ids()
        state(client, names[0], "critical")
        watched[0].until_ids()
        assert connections() - before <= 4
        assert client.connections <= 4


def connections() -> int:
    """The sockets this process has open."""
    links = (Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd"))  # noqa: PTH208
    return sum(str(link.readlink()).startswith("socket:") for link in links if link.is_symlink())


def test_the_other_datacentre(follow, federation, name):
    """Endpoints there, and one that nobody knows: an error and an event with its name."""
    with federation.dc2.client() as there, federation.dc1.client() as here:
        register(there, name, name)
        discovery = follow(here)
        Seen(discovery.endpoints(name, "dc2")).until_ids(name)
        Seen(discovery.endpoints(name)).until(lambda value: isinstance(value, Neg))
        assert discovery.age(name, "dc2") is not None


@pytest.mark.parametrize("fine", [6, 0])
def test_an_unknown_datacentre_is_named(follow, events, client, name, fine):
    """Within seconds, once."""
    seen = Seen(follow(client, fine=fine).endpoints(name, "nowhere"))
    failed = seen.until(lambda value: isinstance(value, Failed))
    assert "'nowhere'" in failed.cause
    assert [("unknown-datacenter", f"{name}@nowhere")] == [event[:2] for event in events]


@pytest.mark.parametrize("fine", [6, 0])
def test_who_may_not_read_nodes_is_told_so(follow, events, acl_agent, name, fine):
    """Consul answers an empty list then, which looks like no instances."""
    with acl_agent.client(acl_agent.master) as master:
        register(master, name, name)
    token = acl_agent.token_with('service_prefix "" { policy = "read" }')
    with acl_agent.client(token) as client:
        seen = Seen(follow(client, fine=fine).endpoints(name))
        failed = seen.until(lambda value: isinstance(value, Failed))
        assert "node:read" in failed.cause
        assert [("not-allowed", name)] == [event[:2] for event in events]


def test_an_unknown_token_is_told_so(follow, events, acl_agent, name):
    """A 403 is final for now, not an outage."""
    with acl_agent.client("99999999-2222-3333-4444-555555555555") as client:
        seen = Seen(follow(client).endpoints(name))
        failed = seen.until(lambda value: isinstance(value, Failed))
    assert "ACL not found" in failed.cause
    assert "not-allowed" == events[0][0]


@pytest.mark.parametrize("fine", [6, 0])
def test_a_restarted_agent_is_followed_again(follow, own_agent, name, fine):
    """It has forgotten everything and counts from the beginning; what was good stays meanwhile."""
    with own_agent.client() as client:
        register(client, name, name)
        seen = Seen(follow(client, fine=fine).endpoints(name))
        seen.until_ids(name)
        own_agent.restart()
        with own_agent.client() as fresh:  # the breaker of the other one may still be open
            register(fresh, name, f"{name}-new")
        seen.until_ids(f"{name}-new")
