"""Documents of a real Consul: chains followed, entries written, and what Consul refuses."""

from __future__ import annotations

import random
import threading

import pytest

from meshlib.control.consul.chain import KIND, REFUSED
from meshlib.control.consul.documents import ConsulDocuments
from meshlib.control.consul.entries import FOLDER, KV
from meshlib.control.consul.faults import NotAllowed
from meshlib.control.documents import NotHttp
from meshlib.control.plans import Plans
from meshlib.control.registry import Document
from meshlib.control.routes import NOBODY
from meshlib.errors import ConfigError
from meshlib.model import Call, Endpoint, Target
from meshlib.observe.quiet import Quiet

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


@pytest.fixture
def events():
    """What was told."""
    return []


@pytest.fixture
def follow(events):
    """Makes a source of documents, closed afterwards."""
    made = []

    def make(client, **options):
        documents = ConsulDocuments(client, event=lambda *event: events.append(event), **options)
        made.append(documents)
        return documents

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=[6, 0], ids=["fine", "coarse"])
def documents(request, follow, client):
    """A query for each service, or triggers for all: nobody shall notice."""
    return follow(client, fine=request.param)


def write(documents, kind, name, **body):
    assert documents.put(Document(kind, name, body))


def write_http(documents, *names):
    """Consul takes what nobody has said anything of for tcp, and does not route that."""
    for name in names:
        write(documents, "service-defaults", name, Protocol="http")


def write_subsets(documents, name, *versions, **more):
    subsets = {each: {"Filter": f'Service.Meta.version == "{each}"'} for each in versions}
    write(documents, "service-resolver", name, Subsets=subsets, **more)


def plan_of(documents, name):
    """The plan of a service, as it is followed by a mesh."""
    return Seen(Plans(documents, NOBODY, {}, Quiet()).plan(name))


def legs(plan):
    """Where calls go that no route takes."""
    return {str(leg.target): leg.weight for leg in plan.table.routes[-1].split.legs}


def chosen(plan, path):
    return plan.table.choose(Call("any", path=path), random.Random(1))


def test_a_service_nobody_has_written_of(documents, name):
    """Consul has a chain for every name; its own default of five seconds to connect is not ours."""
    seen = plan_of(documents, name)
    plan = seen.until(lambda plan: plan.protocol == "tcp")
    assert {name: 100.0} == legs(plan)
    assert 1.0 == plan.config.connect.timeout
    assert documents.documents(name) is documents.documents(name)


def test_a_split_arrives(documents, name):
    """Subsets with their filters, a weight of zero, and the next split after it."""
    seen = plan_of(documents, name)
    write_http(documents, name)
    write_subsets(documents, name, "v1", "v2", ConnectTimeout="3s")
    for one, two in ((90, 10), (12.5, 87.5), (100, 0)):
        splits = [{"Weight": one, "ServiceSubset": "v1"}, {"Weight": two, "ServiceSubset": "v2"}]
        write(documents, "service-splitter", name, Splits=splits)
        expected = {f"v1.{name}": float(one), f"v2.{name}": float(two)}
        plan = seen.until(lambda plan, wanted=expected: wanted == legs(plan))
    assert {"v1", "v2"} == set(plan.subsets)
    second = Endpoint("i", "h", 1, meta={"version": "v2"})
    assert (False, True) == (plan.subsets["v1"](second), plan.subsets["v2"](second))
    assert 3.0 == plan.config.connect.timeout
    assert documents.delete("service-splitter", name)
    seen.until(lambda plan: {name: 100.0} == legs(plan))


def test_routes_redirects_and_the_splits_of_others(documents, name):
    """Consul has followed them all; we walk what it has compiled."""
    old, new = f"{name}-old", f"{name}-new"
    write_http(documents, name, old, new)
    write_subsets(documents, new, "v1", "v2")
    write(documents, "service-resolver", old, Redirect={"Service": new, "ServiceSubset": "v2"})
    match, rewrite = {"HTTP": {"PathPrefix": "/old/"}}, {"PrefixRewrite": "/"}
    to_old = {"Service": old, "RequestTimeout": "7s", "NumRetries": 2, **rewrite}
    routes = [{"Match": match, "Destination": to_old}]
    write(documents, "service-router", name, Routes=routes)
    halves = [{"Weight": 50, "Service": new, "ServiceSubset": "v1"}, {"Weight": 50}]
    write(documents, "service-splitter", name, Splits=halves)
    seen = plan_of(documents, name)
    plan = seen.until(lambda plan: {f"v1.{new}": 50.0, name: 50.0} == legs(plan))
    assert Target(new, "v2") == chosen(plan, "/old/1")
    assert {"v1", "v2"} == set(plan.foreign[new])
    first = plan.table.routes[0].rules
    assert (7.0, 3) == (first.timeout, first.retry.attempts)
    quarters = [{"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, "ServiceSubset": "v2"}]
    write(documents, "service-splitter", new, Splits=quarters)
    write(documents, "service-splitter", name, Splits=[{"Weight": 50, "Service": new}, halves[1]])
    expected = {f"v1.{new}": 25.0, f"v2.{new}": 25.0, name: 50.0}
    seen.until(lambda plan: expected == legs(plan))


def test_failover_to_others(documents, name):
    """In order; another subset, another service."""
    backup = f"{name}-backup"
    write_http(documents, name, backup)
    failover = {"*": {"Service": backup}, "v1": {"ServiceSubset": "v2"}}
    write_subsets(documents, name, "v1", "v2", Failover=failover, DefaultSubset="v1")
    seen = plan_of(documents, name)
    plan = seen.until(lambda plan: {f"v1.{name}": 100.0} == legs(plan))
    assert (Target(name, "v2"),) == plan.instead_of(Target(name, "v1"))


def test_datacentres(follow, federation, name):
    """A redirect leads to another one, failover through several; ours is not named."""
    write_away = {"Redirect": {"Service": f"{name}-there", "Datacenter": "dc2"}}
    with federation.dc1.client() as client:
        documents = follow(client)
        write(documents, "service-resolver", f"{name}-away", **write_away)
        write(documents, "service-resolver", name, Failover={"*": {"Datacenters": ["dc2"]}})
        away = plan_of(documents, f"{name}-away")
        away.until(lambda plan: {f"{name}-there@dc2": 100.0} == legs(plan))
        seen = plan_of(documents, name)
        plan = seen.until(lambda plan: plan.instead_of(Target(name)))
        assert (Target(name, "", "dc2"),) == plan.instead_of(Target(name))


def test_policies_of_the_key_value_store(documents, client, name):
    """Beside the chain; one that is no JSON is refused, and the good one stays."""
    seen = plan_of(documents, name)
    write(documents, "traffic-policy", name, Timeout="3s")
    seen.until(lambda plan: plan.config.timeout == 3.0)
    stored = documents.get("traffic-policy", name)
    assert ({"Timeout": "3s"}, True) == (stored.body, stored.version > 0)
    client.put(f"{KV}/{FOLDER}{name}", b"{nonsense")
    with pytest.raises(ConfigError, match="traffic-policy"):
        documents.get("traffic-policy", name)
    write(documents, "traffic-policy", f"{name}-other", Timeout="1s")
    other = plan_of(documents, f"{name}-other")
    other.until(lambda plan: plan.config.timeout == 1.0)
    assert 3.0 == seen.watch.value.config.timeout
    assert documents.delete("traffic-policy", name)
    seen.until(lambda plan: plan.config.timeout != 3.0)
    assert not documents.delete("traffic-policy", name)


def test_a_broken_policy_is_told_once(documents, client, events, name):
    """However often others are written."""
    seen = Seen(documents.documents(name))
    client.put(f"{KV}/{FOLDER}{name}", b"[]")
    write(documents, "traffic-policy", f"{name}-other", Timeout="1s")
    other = Seen(documents.documents(f"{name}-other"))
    other.until(lambda found: "traffic-policy" in [each.kind for each in found])
    assert [KIND] == [each.kind for each in seen.until(bool)]
    told = [event[:2] for event in events if name in event[1]]
    assert [("document-refused", f"traffic-policy/{name}")] == told


def test_what_concerns_others_wakes_nobody(documents, name):
    """Consul 1.8 wakes every chain for every entry; equal contents are not told again."""
    seen = Seen(documents.documents(name))
    seen.until(bool)
    told = seen.told
    write_http(documents, f"{name}-other")
    write(documents, "traffic-policy", f"{name}-other", Timeout="1s")
    write_http(documents, name)
    seen.until(lambda found: "http" == found[0].body["Protocol"])
    assert told + 1 == seen.told


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("service-defaults", {"Protocol": "http"}),
        ("service-resolver", {"ConnectTimeout": "3s", "DefaultSubset": ""}),
        ("traffic-policy", {"Timeout": "3s"}),
    ],
)
def test_compare_and_set(documents, name, kind, body):
    """Version 0 is what is not there yet; who read an older one writes nothing."""
    assert documents.get(kind, name) is None
    assert documents.put(Document(kind, name, body), cas=True)
    assert not documents.put(Document(kind, name, body), cas=True)
    stored = documents.get(kind, name)
    assert {key: value for key, value in body.items() if value}.items() <= stored.body.items()
    assert documents.put(stored, cas=True)
    assert not documents.put(Document(kind, name, body, stored.version - 1), cas=True)
    assert documents.put(Document(kind, name, body))
    assert (True, False) == (documents.delete(kind, name), documents.delete(kind, name))


def test_entries_come_back_as_they_were_written(documents, name):
    """Read, changed and written again: what Consul adds does not stand in the way."""
    subsets = {"v1": {"Filter": "Service.Meta.version == v1", "OnlyPassing": True}}
    write(documents, "service-resolver", name, Subsets=subsets, DefaultSubset="v1")
    stored = documents.get("service-resolver", name)
    assert {"Kind", "Name", "Subsets", "DefaultSubset"} == set(stored.body)
    assert subsets == stored.body["Subsets"]
    assert documents.put(stored, cas=True)


def test_what_consul_refuses(documents, name):
    """Its own words, and what to do about it."""
    splits = [{"Weight": 100}]
    with pytest.raises(NotHttp, match="does not permit advanced routing") as refused:
        documents.put(Document("service-splitter", name, {"Splits": splits}))
    assert f"service-defaults/{name}" in refused.value.hint
    write_http(documents, name)
    splits = [{"Weight": 100, "ServiceSubset": "v9"}]
    with pytest.raises(ConfigError, match="v9"):
        documents.put(Document("service-splitter", name, {"Splits": splits}))


def test_what_we_refuse(documents, name):
    """Before Consul is asked, with the path of the field."""
    with pytest.raises(ConfigError) as refused:
        documents.put(Document("service-resolver", name, {"ConectTimeout": "1s"}))
    assert refused.value.path.startswith(f"service-resolver/{name}.ConectTimeout")
    assert documents.get("service-resolver", name) is None


def test_an_entry_that_others_depend_on_stays(documents, name):
    """Consul says who does."""
    write_http(documents, name)
    write_subsets(documents, name, "v1")
    splits = [{"Weight": 100, "ServiceSubset": "v1"}]
    write(documents, "service-splitter", name, Splits=splits)
    with pytest.raises(ConfigError, match="v1"):
        documents.delete("service-resolver", name)
    assert documents.get("service-resolver", name) is not None


def test_entries_of_others_are_understood_as_far_as_possible(documents, client, events, name):
    """What is said to sidecars only is passed over in silence, and the rest holds."""
    backup = f"{name}-b"
    mode = {"MeshGateway": {"Mode": "local"}}
    for each in (backup, name):
        defaults = {"Kind": "service-defaults", "Name": each, "Protocol": "grpc", **mode}
        client.put("/v1/config", defaults)
    failover = {"*": {"Service": backup, "Namespace": "default"}}
    body = {"Kind": "service-resolver", "Name": name, "ConnectTimeout": "4s"}
    client.put("/v1/config", {**body, "Failover": failover})
    seen = plan_of(documents, name)
    plan = seen.until(lambda plan: 4.0 == plan.config.connect.timeout)
    assert "grpc" == plan.protocol
    assert (Target(backup),) == plan.instead_of(Target(name))
    assert [] == events


def test_who_may_not_read_is_told_so(follow, events, acl_agent, name):
    """The right that is missing; calls are refused with it instead of waiting."""
    with acl_agent.client(acl_agent.token_for(f"{name}-x")) as client:
        denied = acl_agent.token_with('node_prefix "" { policy = "read" }')
        with acl_agent.client(denied) as stranger:
            seen = Seen(follow(stranger).documents(name))
            (chain,) = seen.until(bool)
            assert "service:read" in chain.body[REFUSED]
            with pytest.raises(NotAllowed, match="service:write"):
                follow(client).put(Document("service-defaults", name, {"Protocol": "http"}))
    assert ("not-allowed", name) in [event[:2] for event in events]


def test_a_service_identity_without_policies(follow, events, acl_agent, name):
    """It may not read the store of keys: chains hold, policies are said to be missing."""
    with acl_agent.client(acl_agent.token_for(name)) as client:
        documents = follow(client)
        seen = plan_of(documents, name)
        seen.until(lambda plan: "tcp" == plan.protocol)
        write_http(documents, name)
        seen.until(lambda plan: "http" == plan.protocol)
    assert [("not-allowed", FOLDER)] == [event[:2] for event in events]


@pytest.mark.parametrize("fine", [6, 0])
def test_a_restarted_agent_is_followed_again(follow, own_agent, name, fine):
    """It has forgotten everything; what was good stays until it says something else."""
    with own_agent.client() as client:
        documents = follow(client, fine=fine)
        write(documents, "traffic-policy", name, Timeout="3s")
        write_http(documents, name)
        seen = plan_of(documents, name)
        seen.until(lambda plan: ("http", 3.0) == (plan.protocol, plan.config.timeout))
        own_agent.kill()
        own_agent.start()
        with own_agent.client() as fresh:
            write(follow(fresh), "traffic-policy", name, Timeout="4s")
        seen.until(lambda plan: ("tcp", 4.0) == (plan.protocol, plan.config.timeout))


def test_many_services_cost_few_connections(follow, own_agent, name):
    """Forty followed, and an entry that one of them depends on is still seen."""
    names = [f"{name}-{number}" for number in range(40)]
    with own_agent.client() as client:
        documents = follow(client)
        write_http(documents, *names)
        watched = [plan_of(documents, each) for each in names]
        for seen in watched:
            seen.until(lambda plan: "http" == plan.protocol)
        splits = [{"Weight": 50}, {"Weight": 50, "Service": names[1]}]
        write(documents, "service-splitter", names[39], Splits=splits)
        watched[39].until(lambda plan: {names[39]: 50.0, names[1]: 50.0} == legs(plan))
        redirect = {"Service": names[2]}
        write(documents, "service-resolver", names[1], Redirect=redirect)
        watched[39].until(lambda plan: {names[39]: 50.0, names[2]: 50.0} == legs(plan))
        watched[1].until(lambda plan: {names[2]: 100.0} == legs(plan))
        assert client.connections <= 9


@pytest.mark.parametrize("fine", [6, 0])
def test_what_is_said_for_all_reaches_all(follow, own_agent, name, fine):
    """`proxy-defaults` is a part of every chain."""
    names = [f"{name}-a", f"{name}-b"]
    with own_agent.client() as client:
        documents = follow(client, fine=fine)
        watched = [plan_of(documents, each) for each in names]
        for protocol in ("http", "grpc"):
            defaults = {
                "Kind": "proxy-defaults",
                "Name": "global",
                "Config": {"protocol": protocol},
            }
            client.put("/v1/config", defaults)
            for seen in watched:
                seen.until(lambda plan, wanted=protocol: wanted == plan.protocol)
