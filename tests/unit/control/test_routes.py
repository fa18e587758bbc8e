"""Routers, routes of the policy, redirects and failover: from documents to tables."""

from __future__ import annotations

from random import Random

import pytest
from multidict import CIMultiDict

from meshlib.config import RetryConfig
from meshlib.config.routes import FallbackConfig, FaultConfig, MirrorConfig
from meshlib.control.compile import compile_plan
from meshlib.control.documents import validate
from meshlib.control.registry import Document
from meshlib.control.routes import NOBODY, Caller
from meshlib.errors import ConfigError
from meshlib.model import Call, Target
from meshlib.route.headers import HeaderChanges

SUBSETS = {v: {"Filter": f"Service.Meta.version == {v}"} for v in ("v1", "v2")}
RESOLVER = Document("service-resolver", "backend", {"Subsets": SUBSETS})
SPLITTER = Document(
    "service-splitter",
    "backend",
    {
        "Splits": [
            {"Weight": 0, "ServiceSubset": "v1"},
            {
                "Weight": 100,
                "ServiceSubset": "v2",
                "RequestHeaders": {"Set": {"x-split": "v2"}},
                "ResponseHeaders": {"Remove": ["server"]},
            },
        ]
    },
)


def router(*routes):
    """A service-router."""
    return Document("service-router", "backend", {"Routes": list(routes)})


def http(match, **destination):
    """A route of a router."""
    return {"Match": {"HTTP": match}, "Destination": destination}


def policy(*routes, **fields):
    """A traffic-policy with these routes."""
    return Document("traffic-policy", "backend", {"Routes": list(routes), **fields})


def table(*documents, caller=NOBODY):
    """The table they make."""
    return compile_plan("backend", documents, caller).table


def taken(made, path="/", method="GET", query="", **headers):
    """Name of the route, and target, of a call."""
    said = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    call = Call("backend", method, path, query, said)
    return made.match(call).name, str(made.choose(call, Random(1)))


def refusal(*documents):
    """The ConfigError that compiling raises."""
    with pytest.raises(ConfigError) as refused:
        compile_plan("backend", documents)
    return refused.value


def test_a_router_is_tried_in_order_and_the_rest_is_split():
    """The first that matches decides, though a later one is longer."""
    made = table(
        RESOLVER,
        SPLITTER,
        router(
            http({"PathPrefix": "/a"}, ServiceSubset="v1"),
            http({"PathExact": "/a/b"}, Service="other"),
            http({"Header": [{"Name": "x-debug", "Exact": "1"}]}, Service="debug"),
            http({"QueryParam": [{"Name": "q", "Present": True}], "Methods": ["GET"]}),
        ),
    )
    assert ("router[0]", "v1.backend") == taken(made, "/a/b")
    assert ("router[2]", "debug") == taken(made, x_debug="1")
    assert ("router[3]", "v2.backend") == taken(made, query="q=")
    assert ("default", "v2.backend") == taken(made, query="q=", method="POST")


def test_consuls_own_example_is_read():
    """Everything a destination can say arrives."""
    made = table(
        RESOLVER,
        router(
            http(
                {"PathPrefix": "/coffees", "CaseInsensitive": True},
                Service="procurement",
                PrefixRewrite="/v2/coffees",
                RequestTimeout="5s",
                IdleTimeout="2s",
                NumRetries=4,
                RetryOnConnectFailure=True,
                RetryOn=["reset"],
                RetryOnStatusCodes=[503, 409],
                RequestHeaders={"Add": {"a": "1"}, "Set": {"b": "2"}, "Remove": ["c"]},
                ResponseHeaders={"Set": {"d": "3"}},
            )
        ),
    )
    rules = made.routes[0].rules
    assert (5.0, 2.0) == (rules.timeout, rules.silence)
    assert RetryConfig(attempts=5, on=("reset", "connect-failure"), statuses=(503, 409)) == (
        rules.retry
    )
    assert "/v2/coffees/1" == rules.rewrite("/Coffees/1")
    assert HeaderChanges((("a", "1"),), (("b", "2"),), ("c",)) == rules.request
    assert HeaderChanges(set=(("d", "3"),)) == rules.response
    assert (None, None) == (made.routes[1].rules, made.routes[1].match)


def test_a_route_that_takes_everything_is_the_last():
    """Consul adds a catch-all; one of our own takes its place, none may stand behind it."""
    made = table(router({"Destination": {"Service": "other"}}))
    assert (1, ("router[0]", "other")) == (len(made.routes), taken(made))
    refused = refusal(router({}, http({"PathExact": "/a"})))
    assert "service-router/backend.Routes[1]" == refused.path


def test_routes_of_the_policy_come_first_and_in_order_of_precedence():
    """Exact, longest prefix, expression, headers: as Gateway API has it."""
    made = table(
        policy(
            {"Name": "header", "Match": {"Header": [{"Name": "a", "Present": True}]}},
            {"Name": "regex", "Match": {"PathRegex": "/a/.*"}},
            {"Name": "short", "Match": {"PathPrefix": "/a/"}},
            {"Name": "long", "Match": {"PathPrefix": "/a/b"}},
            {"Name": "exact", "Match": {"PathExact": "/a/bc"}},
        ),
        router(http({"PathExact": "/a/bc"}), http({"PathExact": "/r"})),
    )
    named = [route.name for route in made.routes]
    policies = ["exact", "long", "short", "regex", "header"]
    assert [*policies, "router[0]", "router[1]", "default"] == named
    assert "exact" == taken(made, "/a/bc")[0]


def test_users_are_told_apart_by_cookie_by_segment_and_by_caller():
    """A route for others takes nothing here; segments are the program's own functions."""
    document = policy(
        {"Name": "cookie", "Match": {"Cookie": [{"Name": "beta", "Exact": "1"}]}},
        {"Name": "staff", "Match": {"Segments": ["staff", "unknown"]}},
        {"Name": "web", "Match": {"PathExact": "/w", "Sources": ["web"]}},
    )
    segments = {"staff": lambda call: call.headers.get("x-user", "").endswith("@corp")}
    made = table(document, caller=Caller("web", segments))
    assert "cookie" == taken(made, cookie="beta=1")[0]
    assert "staff" == taken(made, x_user="a@corp")[0]
    assert "web" == taken(made, "/w")[0]
    others = table(document, caller=Caller("batch"))
    assert ["cookie", "default"] == [route.name for route in others.routes]


def test_what_the_service_says_holds_for_routes_that_say_nothing():
    """A mirror for all, but none for one; a fault of one route's own."""
    plan = table(
        policy(
            {"Match": {"PathExact": "/quiet"}, "Mirror": []},
            {"Match": {"PathExact": "/faulty"}, "Fault": {"Abort": 500, "AbortPercent": 5}},
            Mirror=[{"Service": "shadow", "Percent": 10, "Methods": ["GET", "POST"]}],
            Fallback={"Status": 200, "Body": "[]", "On": ["failed"]},
        )
    )
    mirror = MirrorConfig(service="shadow", percent=10, methods=("GET", "POST"))
    fallback = FallbackConfig(status=200, body="[]", on=("failed",))
    by_path = {p: plan.match(Call("backend", path=p)).rules for p in ("/quiet", "/faulty", "/")}
    assert ((), (mirror,), (mirror,)) == tuple(rules.mirrors for rules in by_path.values())
    assert FaultConfig(abort=500, abort_percent=5) == by_path["/faulty"].fault
    assert all(fallback == rules.fallback for rules in by_path.values())


def test_splits_change_headers():
    """Each leg its own."""
    leg = table(RESOLVER, SPLITTER).routes[-1].split.legs[1]
    assert HeaderChanges(set=(("x-split", "v2"),)) == leg.request
    assert HeaderChanges(remove=("server",)) == leg.response


def test_a_redirect_of_the_resolver_leads_all_calls_elsewhere():
    """As in Consul it stands alone."""
    redirect = Document("service-resolver", "backend", {"Redirect": {"Service": "new"}})
    assert ("default", "new") == taken(table(redirect))


def test_failover_lists_are_kept_by_subset():
    """The star is for those that are not named; both of Consul's forms are read."""
    lists = {
        "*": {"Targets": [{"Service": "backup"}, {"ServiceSubset": "v1"}]},
        "v2": {"ServiceSubset": "v1"},
    }
    body = {"Subsets": SUBSETS, "Failover": lists}
    plan = compile_plan("backend", (Document("service-resolver", "backend", body),))
    assert (Target("backup"), Target("backend", "v1")) == plan.failover["*"]
    assert (Target("backend", "v1"),) == plan.failover["v2"]


BAD = [
    ("service-router", {"Match": {"HTTP": {"PathExact": "a"}}}, "Match.HTTP.PathExact", "a"),
    (
        "service-router",
        {"Match": {"HTTP": {"PathExact": "/a", "PathPrefix": "/b"}}},
        "Match.HTTP",
        ["PathExact", "PathPrefix"],
    ),
    (
        "service-router",
        {"Match": {"HTTP": {"PathRegex": "(?=a)"}}},
        "Match.HTTP.PathRegex",
        "(?=a)",
    ),
    ("service-router", {"Match": {"HTTP": {"Methods": ["get"]}}}, "Match.HTTP.Methods[0]", "get"),
    (
        "service-router",
        {"Match": {"HTTP": {"Header": [{"Name": "a", "Regex": "["}]}}},
        "Match.HTTP.Header[0].Regex",
        "[",
    ),
    (
        "service-router",
        {"Match": {"HTTP": {"Header": [{"Name": "a"}]}}},
        "Match.HTTP.Header[0]",
        [],
    ),
    (
        "service-router",
        {"Match": {"HTTP": {"Header": [{"Name": "a", "Contains": "b"}]}}},
        "Match.HTTP.Header[0].Contains",
        "b",
    ),
    ("service-router", {"Match": {"HTTP": {"Cookie": []}}}, "Match.HTTP.Cookie", []),
    (
        "service-router",
        {"Destination": {"PrefixRewrite": "/a"}},
        "Destination.PrefixRewrite",
        "/a",
    ),
    ("service-router", {"Destination": {"NumRetries": 10}}, "Destination.NumRetries", 10),
    (
        "service-router",
        {"Destination": {"RetryOn": ["5xx", "whatever"]}},
        "Destination.RetryOn[1]",
        "whatever",
    ),
    (
        "service-router",
        {"Destination": {"RetryOnStatusCodes": [200]}},
        "Destination.RetryOnStatusCodes[0]",
        200,
    ),
    (
        "service-router",
        {"Destination": {"RequestHeaders": {"Set": {"a": "x\ny"}}}},
        "Destination.RequestHeaders.Set.a",
        "x\ny",
    ),
    ("service-router", {"Destination": {"Datacenter": "dc2"}}, "Destination.Datacenter", "dc2"),
    ("traffic-policy", {"Match": {}}, "Match", {}),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "Redirect": {"Status": 200, "Host": "a"}},
        "Redirect.Status",
        200,
    ),
    (
        "traffic-policy",
        {"Match": {"PathRegex": "/a"}, "Redirect": {"Prefix": "/b"}},
        "Redirect.Prefix",
        "/b",
    ),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "Redirect": {"Host": "a"}, "Answer": {}},
        "Redirect",
        "given",
    ),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "RegexRewrite": {"Regex": "(", "Substitution": ""}},
        "RegexRewrite.Regex",
        "(",
    ),
    ("traffic-policy", {"Match": {"PathExact": "/a"}, "HostRewrite": "a b"}, "HostRewrite", "a b"),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "Mirror": [{"Service": "s", "Percent": 101}]},
        "Mirror[0].Percent",
        101,
    ),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "Mirror": [{"Service": "s", "Methods": ["GET", "get"]}]},
        "Mirror[0].Methods[1]",
        "get",
    ),
    ("traffic-policy", {"Match": {"PathExact": "/a"}, "Fault": {"Abort": 99}}, "Fault.Abort", 99),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "Fault": {"Delay": "-1s"}},
        "Fault.Delay",
        "-1s",
    ),
    (
        "traffic-policy",
        {"Match": {"PathExact": "/a"}, "Fallback": {"On": ["rain"]}},
        "Fallback.On[0]",
        "rain",
    ),
]


@pytest.mark.parametrize(("kind", "route", "where", "value"), BAD, ids=[case[2] for case in BAD])
def test_bad_routes_are_named_with_their_path(kind, route, where, value):
    """At load time, with the field and what stands there; never when a request comes."""
    with pytest.raises(ConfigError) as refused:
        validate(Document(kind, "backend", {"Routes": [route]}))
    assert (f"{kind}/backend.Routes[0].{where}", value) == (refused.value.path, refused.value.value)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"Redirect": {}}, "Redirect"),
        ({"Redirect": {"Service": "a"}, "Subsets": {"v1": {}}}, "Subsets"),
        ({"Redirect": {"Service": "a", "Datacenter": "dc2"}}, "Redirect.Datacenter"),
        ({"Failover": {"v1": {"Service": "a"}}}, "Failover.v1"),
        ({"Failover": {"*": {}}}, "Failover.*.Targets"),
        ({"Failover": {"*": {"Datacenters": ["dc2"]}}}, "Failover.*.Datacenters[0]"),
        (
            {"Failover": {"*": {"Targets": [{"Datacenter": "dc2"}]}}},
            "Failover.*.Targets[0].Datacenter",
        ),
    ],
)
def test_bad_resolvers_are_named_with_their_path(body, where):
    """Other datacenters are refused: one control plane of this machine has none."""
    with pytest.raises(ConfigError) as refused:
        validate(Document("service-resolver", "backend", body))
    assert f"service-resolver/backend.{where}" == refused.value.path


def test_what_documents_must_agree_on():
    """A subset nobody defined, a failover to one, a redirect to oneself, routes of plain TCP."""
    assert "service-router/backend.Routes[0].Destination.ServiceSubset" == (
        refusal(RESOLVER, router(http({"PathExact": "/a"}, ServiceSubset="v9"))).path
    )
    assert "traffic-policy/backend.Routes[0].Destination.ServiceSubset" == (
        refusal(policy({"Match": {"PathExact": "/a"}, "Destination": {"ServiceSubset": "v9"}})).path
    )
    body = {"Failover": {"*": {"Targets": [{"ServiceSubset": "v9"}]}}}
    assert "service-resolver/backend.Failover.*.Targets[0].ServiceSubset" == (
        refusal(Document("service-resolver", "backend", body)).path
    )
    itself = Document("service-resolver", "backend", {"Redirect": {"Service": "backend"}})
    assert "service-resolver/backend.Redirect.Service" == refusal(itself).path
    tcp = Document("service-defaults", "backend", {"Protocol": "tcp"})
    assert "service-defaults/backend.Protocol" == refusal(tcp, router()).path


def test_equal_documents_make_equal_tables():
    """Expressions, rewrites and answers compare by value: an unchanged write wakes nobody."""
    route = {
        "Match": {"PathRegex": "/a+"},
        "RegexRewrite": {"Regex": "a", "Substitution": "b"},
        "Fallback": {"Headers": {"a": "b"}},
    }
    one, two = (compile_plan("backend", (policy(route),)) for _ in range(2))
    assert (one, hash(one)) == (two, hash(two))
    assert one != compile_plan("backend", (policy({**route, "HostRewrite": "x"}),))
