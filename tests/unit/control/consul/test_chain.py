from __future__ import annotations

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.compile import compile_plan
from meshlib.control.consul.chain import KIND, REFUSED, cleaned, read_chain
from meshlib.control.consul.chains import Compiled, documents_of
from meshlib.control.registry import Document
from meshlib.errors import ConfigError, NoRoute
from meshlib.model import Call, Endpoint, Target
from meshlib.route.rewrite import PrefixRewrite

FAR = "web.default.default.external.far"
TD = "11111111-2222-3333-4444-555555555555.consul"


def target(name, *, subset="", dc="dc1", **more):
    """An entry of `Targets`, as Consul 1.8 writes it."""
    id_ = f"{subset and subset + '.'}{name}.default.{dc}"
    said = {"ID": id_, "Service": name, "Namespace": "default", "Datacenter": dc}
    said |= {"MeshGateway": {}, "Subset": {}, "SNI": f"{id_}.internal.{TD}", **more}
    return {id_: {**said, **({"ServiceSubset": subset} if subset else {})}}


def resolver(id_, **more):
    said = {"ConnectTimeout": "5s", "Target": id_, **more}
    return {f"resolver:{id_}": {"Type": "resolver", "Name": id_, "Resolver": said}}


def chain(start, nodes, targets, *, name="web", **more):
    return {
        "ServiceName": name,
        "Namespace": "default",
        "Datacenter": "dc1",
        "Protocol": "http",
        "StartNode": start,
        "Nodes": nodes,
        "Targets": targets,
        **more,
    }


def splitter(*splits):
    said = [{"Weight": weight, "NextNode": f"resolver:{to}"} for weight, to in splits if weight]
    said += [{"NextNode": f"resolver:{to}"} for weight, to in splits if not weight]
    return {"splitter:web.default": {"Type": "splitter", "Name": "web.default", "Splits": said}}


WEB, V1, V2, X = "web.default.dc1", "v1.web.default.dc1", "v2.web.default.dc1", "x.api.default.dc1"
V1_FILTER = {"Filter": "Service.Meta.version == v1"}
STRICT = {"Filter": "Service.Meta.version == v2", "OnlyPassing": True}
TARGETS = {
    **target("web", subset="v1", Subset=V1_FILTER),
    **target("web", subset="v2", Subset=STRICT),
    **target("api", subset="x", Subset={"Filter": "Service.Tags contains x"}),
}

CONSUL_1_8 = chain(
    "router:web.default",
    {
        "router:web.default": {
            "Type": "router",
            "Name": "web.default",
            "Routes": [
                {
                    "Definition": {
                        "Match": {"HTTP": {"PathPrefix": "/old/"}},
                        "Destination": {
                            "RequestTimeout": "5s",
                            "Service": "old",
                            "PrefixRewrite": "/",
                            "NumRetries": 3,
                            "RetryOnConnectFailure": True,
                            "RetryOnStatusCodes": [503],
                        },
                    },
                    "NextNode": f"resolver:{X}",
                },
                {
                    "Definition": {
                        "Match": {"HTTP": {"PathPrefix": "/"}},
                        "Destination": {"Service": "web", "Namespace": "default"},
                    },
                    "NextNode": "splitter:web.default",
                },
            ],
        },
        **splitter((50, V1), (37.5, X), (12.5, V1), (0, V2)),
        **resolver(V1, ConnectTimeout="3s", Failover={"Targets": [V2, X]}),
        **resolver(V2, ConnectTimeout="3s"),
        **resolver(X),
    },
    TARGETS,
)

CONSUL_1_21 = {
    **CONSUL_1_8,
    "Partition": "default",
    "ServiceMeta": {"team": "a"},
    "AutoVirtualIPs": ["240.0.0.1"],
    "ManualVirtualIPs": [],
    "StartNode": "splitter:web.default",
    "EnvoyExtensions": [{"Name": "builtin/lua"}],
    "Nodes": {
        **splitter(),
        "splitter:web.default": {
            "Type": "splitter",
            "Name": "web.default",
            "LoadBalancer": None,
            "Splits": [
                {
                    "Definition": {
                        "Weight": 100,
                        "ServiceSubset": "v1",
                        "RequestHeaders": {"Set": {"x-leg": "v1"}},
                    },
                    "Weight": 100,
                    "NextNode": f"resolver:{V1}",
                }
            ],
        },
        f"resolver:{V1}": {
            "Type": "resolver",
            "Name": V1,
            "Resolver": {
                "ConnectTimeout": "2s",
                "RequestTimeout": 1500000000,
                "Target": V1,
                "Failover": {
                    "Targets": [FAR, "web.default.dc2"],
                    "Policy": {"Mode": "order-by-locality"},
                },
            },
            "LoadBalancer": {"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 2}},
        },
    },
    "Targets": {
        **TARGETS,
        **target("web", dc="dc2", Locality=None, ConnectTimeout="5s", Partition="default"),
        FAR: {
            "ID": FAR,
            "Service": "web",
            "Peer": "far",
            "SNI": f"web.default.default.far.external.{TD}",
        },
    },
}


def read(body):
    return read_chain(cleaned(body)[0], path="discovery-chain/web")


def plan(body, *documents, service="web"):
    return compile_plan(service, (Document(KIND, service, cleaned(body)[0]), *documents))


def legs(split):
    return {str(leg.target): leg.weight for leg in split.legs}


def test_a_chain_of_consul_1_8():
    """Routes, the splitter's legs in sum, retries and rewrites, failover, subsets."""
    made = plan(CONSUL_1_8)
    first, rest = made.table.routes
    assert {"x.api": 100.0} == legs(first.split)
    assert {"v1.web": 62.5, "x.api": 37.5, "v2.web": 0.0} == legs(rest.split)
    assert (5.0, PrefixRewrite(5, "/")) == (first.rules.timeout, first.rules.rewrite)
    retry = first.rules.retry
    assert (4, ("connect-failure",), (503,)) == (retry.attempts, retry.on, retry.statuses)
    assert ("default", None) == (rest.name, rest.rules)
    assert "old/" not in first.name
    assert (Target("web", "v2"), Target("api", "x")) == made.instead_of(Target("web", "v1"))
    assert () == made.instead_of(Target("web", "v2"))
    assert ("http", 3.0) == (made.protocol, made.config.connect.timeout)
    assert f"{V1}.internal.{TD}" == read(CONSUL_1_8).sni[Target("web", "v1")]


def test_subsets_come_with_their_filters():
    """Those of the service, and those of others that it leads to."""
    made = plan(CONSUL_1_8)
    v2 = Endpoint("b", "h", 1, meta={"version": "v2"})
    assert [True, False] == [made.subsets["v2"](v2), made.subsets["v1"](v2)]
    assert not made.subsets["v2"](Endpoint("b", "h", 1, meta={"version": "v2"}, warning=True))
    assert {"api": {"x"}} == {name: set(found) for name, found in made.foreign.items()}
    assert made.foreign["api"]["x"](Endpoint("a", "h", 1, tags=("x",)))


def test_a_chain_of_consul_1_21():
    """Nanoseconds, load balancer, headers of a leg, other datacentres; peers are left out."""
    made = plan(CONSUL_1_21)
    (route,) = made.table.routes
    assert (("x-leg", "v1"),) == route.split.legs[0].request.set
    assert (1.5, 2.0) == (made.config.timeout, made.config.connect.timeout)
    assert "least_request" == made.config.balancer
    assert (Target("web", "", "dc2"),) == made.instead_of(Target("web", "v1"))
    assert (FAR,) == read(CONSUL_1_21).skipped


def test_what_is_not_honoured_is_named():
    """And what says nothing, or nothing to a process without a sidecar, is not."""
    assert () == cleaned(CONSUL_1_8)[1]
    ignored = {path.rpartition(".")[2] for path in cleaned(CONSUL_1_21)[1]}
    assert {"EnvoyExtensions", "Policy"} == ignored


def test_equal_chains_are_equal_plans():
    """What changed in Consul and not for us wakes nobody."""
    again = {**CONSUL_1_8, "Nodes": dict(reversed(CONSUL_1_8["Nodes"].items())), "New": 0}
    assert cleaned(CONSUL_1_8) == cleaned(again)
    assert plan(CONSUL_1_8) == plan(CONSUL_1_8)


def test_five_seconds_to_connect_are_nobody_s_wish():
    """Consul writes its default into every chain; ours stays then."""
    made = plan(chain(f"resolver:{WEB}", resolver(WEB, Default=True), target("web")))
    assert 1.0 == made.config.connect.timeout
    assert (inf, None) == (made.config.retry.per_try_timeout, made.table.routes[0].rules)


def test_a_redirect_to_another_datacentre():
    """Calls go there; the chain's own datacentre is here."""
    there = "web.default.dc2"
    made = plan(chain(f"resolver:{there}", resolver(there), target("web", dc="dc2")))
    assert {"web@dc2": 100.0} == legs(made.table.routes[0].split)
    assert "web@dc2" == made.table.targets[0].upstream


def test_splitters_that_follow_each_other():
    """Consul flattens them; who does not is understood as well, and rounding made good."""
    nodes = {
        "splitter:web.default": {
            "Type": "splitter",
            "Splits": [
                {"Weight": 50, "NextNode": "splitter:api.default"},
                {"Weight": 49.99, "NextNode": f"resolver:{V1}"},
            ],
        },
        "splitter:api.default": {
            "Type": "splitter",
            "Splits": [
                {"Weight": 50, "NextNode": f"resolver:{X}"},
                {"Weight": 50, "NextNode": f"resolver:{V1}"},
            ],
        },
        **resolver(V1),
        **resolver(X),
    }
    found = legs(plan(chain("splitter:web.default", nodes, TARGETS)).table.routes[0].split)
    assert 100.0 == pytest.approx(sum(found.values()))
    assert 25.0 == pytest.approx(found["x.api"], abs=0.01)


def test_a_route_that_takes_everything_is_the_last():
    """Its rules count; what Consul adds behind it is never reached."""
    routes = [
        {"Definition": {"Destination": {"RequestTimeout": "7s"}}, "NextNode": f"resolver:{V1}"},
        {"Definition": {}, "NextNode": f"resolver:{X}"},
    ]
    nodes = {"router:web.default": {"Type": "router", "Routes": routes}}
    made = plan(chain("router:web.default", {**nodes, **resolver(V1), **resolver(X)}, TARGETS))
    (route,) = made.table.routes
    assert ({"v1.web": 100.0}, 7.0, None) == (legs(route.split), route.rules.timeout, route.match)


def test_policies_and_resolver_stand_beside_the_chain():
    """A route of the policy may lead to a subset that the chain does not have."""
    subsets = {"v3": {"Filter": "Service.Meta.version == v3"}}
    policy = {
        "Timeout": "4s",
        "Routes": [
            {"Match": {"PathPrefix": "/new"}, "Destination": {"ServiceSubset": "v3"}},
            {"Match": {"PathPrefix": "/api"}, "Destination": {"Service": "api"}},
        ],
    }
    failover = {"*": {"Datacenters": ["dc2"]}}
    body = {"Subsets": subsets, "ConnectTimeout": "2s", "Failover": failover}
    documents = Document("service-resolver", "web", body), Document("traffic-policy", "web", policy)
    made = plan(CONSUL_1_8, *documents)
    assert {"v1", "v2", "v3"} == set(made.subsets)
    assert (4.0, 2.0) == (made.config.timeout, made.config.connect.timeout)
    chosen = made.table.choose(Call("web", path="/new/1"), random.Random(1))
    assert Target("web", "v3") == chosen
    assert Target("api") == made.table.choose(Call("web", path="/api/1"), random.Random(1))


def test_a_policy_that_leads_to_another_service_follows_its_chain():
    """That service may split its calls."""
    api = chain(f"resolver:{X}", resolver(X), TARGETS, name="api")
    policy = {"Routes": [{"Match": {"PathPrefix": "/api"}, "Destination": {"Service": "api"}}]}
    documents = (Document(KIND, "web", cleaned(CONSUL_1_8)[0]),)
    documents += (Document("traffic-policy", "web", policy),)
    others = {"api": (Document(KIND, "api", cleaned(api)[0]),)}
    made = compile_plan("web", documents, others=others.__getitem__)
    assert Target("api", "x") == made.table.choose(Call("web", path="/api"), random.Random(1))


def test_a_policy_may_not_lead_nowhere():
    """Neither chain nor resolver know the subset."""
    policy = {"Routes": [{"Match": {"PathPrefix": "/"}, "Destination": {"ServiceSubset": "v9"}}]}
    policy["Routes"][0]["Match"] = {"PathPrefix": "/new"}
    with pytest.raises(ConfigError, match="v9"):
        plan(CONSUL_1_8, Document("traffic-policy", "web", policy))


def test_a_chain_that_may_not_be_read():
    """Every call is told why, at once."""
    made = compile_plan("web", (Document(KIND, "web", {REFUSED: "the token lacks service:read"}),))
    answer = made.table.match(Call("web")).rules.answer
    with pytest.raises(NoRoute, match="service:read"):
        answer(Call("web"))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"StartNode": "resolver:gone"}, "Nodes"),
        ({"Targets": {}}, f"Nodes.resolver:{V1}.Resolver.Target"),
        ({"Nodes": {"splitter:web.default": {"Type": "magic"}}}, "Nodes"),
        ({"Nodes": splitter((0, V1)) | resolver(V1)}, "Nodes.splitter:web.default.Splits"),
        (
            {"Targets": target("web", subset="v1", Peer="far")},
            f"Nodes.resolver:{V1}.Resolver.Target",
        ),
        (
            {"Targets": target("web", subset="v1", Subset={"Filter": "Checks is empty"})},
            "Targets.v1.web.default.dc1.Subset.Filter",
        ),
    ],
)
def test_what_leads_nowhere_is_refused(change, path):
    """With the path of what is wrong; the last good plan stays then."""
    body = chain("splitter:web.default", splitter((100, V1)) | resolver(V1), TARGETS)
    with pytest.raises(ConfigError) as refused:
        read({**body, **change})
    assert refused.value.path.startswith(f"discovery-chain/web.{path}")


def test_a_circle_is_refused():
    """Consul makes none; whatever does must not keep us busy for ever."""
    split = {"Type": "splitter", "Splits": [{"Weight": 100, "NextNode": "splitter:web.default"}]}
    with pytest.raises(ConfigError, match="a way that ends"):
        read(chain("splitter:web.default", {"splitter:web.default": split}, {}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Nodes", "Targets", "StartNode", "Type", "Resolver", "Target", "a"])
            | st.sampled_from(["Routes", "Splits", "Weight", "NextNode", "Definition", "Subset"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
PLACES = st.sampled_from(["Nodes", "Targets", "StartNode", "Protocol", "ServiceName", "New"])


@given(st.dictionaries(PLACES, JSON, max_size=3), JSON)
def test_no_chain_breaks_it(change, node):
    """It is read or refused, never anything else."""
    nodes = {**CONSUL_1_8["Nodes"], f"resolver:{X}": node}
    for body in (node, {**CONSUL_1_8, **change}, {**CONSUL_1_8, "Nodes": nodes}):
        try:
            plan(body)
        except ConfigError:
            continue


def test_what_an_event_says():
    """The path of each field that is ignored, and failover that leads out of reach."""
    resolver = {"Kind": "service-resolver", "PrioritizeByLocality": {"Mode": "failover"}}
    found, remarks = documents_of(Compiled("web", CONSUL_1_21, {**resolver, "ModifyIndex": 7}))
    assert [(KIND, "web", 0), ("service-resolver", "web", 0)] == [
        (each.kind, each.name, each.version) for each in found
    ]
    assert {"Kind": "service-resolver"} == found[1].body
    assert {
        "discovery-chain/web.EnvoyExtensions is ignored",
        f"discovery-chain/web.Nodes.resolver:{V1}.Resolver.Failover.Policy is ignored",
        f"discovery-chain/web: failover to {FAR} is ignored, as it cannot be reached from here",
        "service-resolver/web.PrioritizeByLocality is ignored",
    } == set(remarks)
