from __future__ import annotations

import pytest

from meshlib.control.compile import compile_plan
from meshlib.control.consul.chain import KIND
from meshlib.control.consul.chains import Chains, Compiled, chain_path, documents_of, refusal
from meshlib.control.consul.faults import NotAllowed, NotThere
from meshlib.control.consul.http import Answer
from meshlib.errors import NoRoute
from meshlib.model import Call

HOME = "web.default.dc1"


def chain(*, default=False, failover=(), **more):
    said = {"ConnectTimeout": "5s", "Target": HOME, "Default": default}
    said |= {"Failover": {"Targets": list(failover)}} if failover else {}
    targets = {HOME: {"ID": HOME, "Service": "web", "Datacenter": "dc1"}}
    return {
        "ServiceName": "web",
        "Datacenter": "dc1",
        "Protocol": "http",
        "StartNode": f"resolver:{HOME}",
        "Nodes": {f"resolver:{HOME}": {"Type": "resolver", "Resolver": said}},
        "Targets": {**targets, **more},
    }


class Consul:
    """Answers with a chain, and with a resolver if there is one."""

    def __init__(self, body, resolver=None):
        self.body, self.resolver, self.asked = body, resolver, []

    def get(self, path, *, timeout, **params):
        self.asked.append((path, params))
        if path.startswith("/v1/discovery-chain/"):
            return Answer(200, {"Chain": self.body}, 7, {})
        if self.resolver is None:
            raise NotThere(path, status=404)
        return Answer(200, self.resolver, 5, {})

    def wait(self, path, *, index, seconds, interrupt, **params):
        del index, seconds, interrupt
        return self.get(path, timeout=1, **params)


def test_the_resolver_comes_with_the_chain():
    """From the same datacentre."""
    resolver = {"Kind": "service-resolver", "Name": "web", "Subsets": {"v9": {}}}
    consul = Consul(chain(), resolver)
    answer = Chains(consul).wait(chain_path("web"), index=0, dc="dc2")
    assert (Compiled("web", chain(), resolver), 7) == (answer.body, answer.index)
    path = "/v1/config/service-resolver/web"
    assert [(chain_path("web"), {"dc": "dc2"}), (path, {"dc": "dc2"})] == consul.asked


def test_where_nobody_has_written_one_none_is_asked_for():
    """The chain says so; most services have none."""
    consul = Consul(chain(default=True))
    assert Chains(consul).wait(chain_path("web"), index=0).body.resolver is None
    assert 1 == len(consul.asked)


def test_a_wait_that_ended_without_news_asks_no_more():
    """Only an answer that may be another one is completed."""
    consul = Consul(chain())
    assert {"Chain": chain()} == Chains(consul).wait(chain_path("web"), index=7).body
    assert 1 == len(consul.asked)
    assert None is Chains(consul).wait(chain_path("web"), index=6).body.resolver
    assert 3 == len(consul.asked)


def test_documents_of_what_consul_knows():
    """The chain, and the resolver as our strict reader takes it."""
    resolver = {"Kind": "service-resolver", "Name": "web", "ModifyIndex": 5, "Namespace": "default"}
    found, remarks = documents_of(Compiled("web", chain(), {**resolver, "Subsets": {"v9": {}}}))
    assert ([KIND, "service-resolver"], ()) == ([each.kind for each in found], remarks)
    assert {"v9"} == set(compile_plan("web", found).subsets)


def test_what_is_not_honoured_is_told():
    """By its path: of the chain, of the resolver, of what cannot be reached."""
    peer = {"far": {"ID": "far", "Service": "web", "Peer": "far"}}
    body = chain(failover=["far"], **peer) | {"EnvoyExtensions": [{"Name": "lua"}]}
    resolver = {"Name": "web", "PrioritizeByLocality": {"Mode": "failover"}}
    _, remarks = documents_of(Compiled("web", body, resolver))
    assert (
        "discovery-chain/web.EnvoyExtensions is ignored",
        "discovery-chain/web: failover to far is ignored, as it cannot be reached from here",
        "service-resolver/web.PrioritizeByLocality is ignored",
    ) == remarks


@pytest.mark.parametrize("body", [None, {}, {"Nodes": None}, {"StartNode": []}, {"Nodes": {"": 1}}])
def test_chains_that_make_no_sense(body):
    """Make documents that whoever compiles them refuses."""
    found, _ = documents_of(Compiled("web", body))
    assert [KIND] == [each.kind for each in found]


def test_a_refusal_reaches_the_caller():
    """With its reason."""
    fault = NotAllowed("Consul does not allow it", why="the token lacks service:read")
    plan = compile_plan("web", (refusal("web", str(fault)),))
    answer = plan.table.match(Call("web")).rules.answer
    with pytest.raises(NoRoute, match="service:read"):
        answer(Call("web"))
