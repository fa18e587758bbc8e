from __future__ import annotations

from random import Random

import msgspec
import pytest

from meshlib.config import (
    BackoffConfig,
    BudgetConfig,
    ConnectConfig,
    LocalityConfig,
    OutlierConfig,
    RetryConfig,
    SessionConfig,
    UpstreamConfig,
)
from meshlib.control.compile import compile_plan
from meshlib.control.registry import Document
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.model import Call, Endpoint, Target
from meshlib.route.split import Leg
from meshlib.route.sticky import Sticky

V1, V2 = Target("backend", "v1"), Target("backend", "v2")


def resolver(**fields):
    """A resolver with the subsets v1 and v2."""
    subsets = {v: {"Filter": f"Service.Meta.version == {v}"} for v in ("v1", "v2")}
    return Document("service-resolver", "backend", {"Subsets": subsets, **fields})


def splitter(*legs):
    """A splitter of (weight, subset) or (weight, subset, more fields)."""
    splits = [
        {"Weight": weight, **({"ServiceSubset": subset} if subset else {}), **more}
        for weight, subset, more in ((*leg, {})[:3] for leg in legs)
    ]
    return Document("service-splitter", "backend", {"Splits": splits})


def policy(**fields):
    """A traffic-policy."""
    return Document("traffic-policy", "backend", fields)


def defaults(protocol):
    """Service defaults."""
    return Document("service-defaults", "backend", {"Protocol": protocol})


def plan(*documents):
    """The plan for the service they are all about."""
    return compile_plan("backend", documents)


def legs(compiled):
    """The legs of the only route."""
    return compiled.table.match(Call("backend")).split.legs


def refusal(*documents):
    """The ConfigError that these documents must raise."""
    with pytest.raises(ConfigError) as refused:
        plan(*documents)
    return refused.value


def test_without_documents_everything_goes_to_the_service():
    """The plan of a service nobody wrote about is the defaults."""
    compiled = plan()
    assert Target("backend") == compiled.table.choose(Call("backend"), Random(1))
    assert (UpstreamConfig(), {}, None, "http") == (
        compiled.config,
        compiled.subsets,
        compiled.sticky,
        compiled.protocol,
    )


def test_the_default_subset_takes_everything():
    """Without a splitter the table leads to the default subset."""
    assert (Leg(V1, 100.0),) == legs(plan(resolver(DefaultSubset="v1")))


def test_a_splitter_shares_calls_between_subsets():
    """Each leg becomes a target with its weight, in the order written."""
    compiled = plan(resolver(), splitter((90, "v1"), (10, "v2")))
    assert (Leg(V1, 90), Leg(V2, 10)) == legs(compiled)


def test_a_leg_without_a_subset_leads_to_the_default_one():
    """In Consul's words: empty is the resolver's DefaultSubset."""
    compiled = plan(resolver(DefaultSubset="v2"), splitter((90, "v1"), (10, "")))
    assert (Leg(V1, 90), Leg(V2, 10)) == legs(compiled)


def test_two_legs_to_the_default_subset_are_one():
    """Said by name and said by silence, it is one target with both weights."""
    compiled = plan(resolver(DefaultSubset="v2"), splitter((70, "v2"), (30, "")))
    assert (Leg(V2, 100),) == legs(compiled)


def test_a_leg_may_lead_to_another_service():
    """Its subsets are the other service's own affair."""
    compiled = plan(splitter((90, ""), (10, "blue", {"Service": "legacy"})))
    assert (Leg(Target("backend"), 90), Leg(Target("legacy", "blue"), 10)) == legs(compiled)


def test_a_leg_may_name_its_own_service():
    """That is the same as naming none."""
    compiled = plan(resolver(), splitter((90, "v1", {"Service": "backend"}), (10, "v2")))
    assert (V1, V2) == compiled.table.targets


def test_subsets_are_filters():
    """Every subset of the resolver keeps the endpoints its filter describes."""
    compiled = plan(resolver())
    endpoint = Endpoint("b", "h", 1, meta={"version": "v2"})
    assert {"v1": False, "v2": True} == {
        name: keeps(endpoint) for name, keeps in compiled.subsets.items()
    }


def test_only_passing_is_kept():
    """Discovery hears which subsets want no endpoint with a warning."""
    subsets = {"strict": {"OnlyPassing": True}, "any": {}}
    document = Document("service-resolver", "backend", {"Subsets": subsets})
    assert ["strict"] == [k for k, v in plan(document).subsets.items() if v.only_passing]


def test_stickiness_reaches_the_split():
    """The policy's header decides in the splitter's legs."""
    compiled = plan(resolver(), splitter((50, "v1"), (50, "v2")), policy(Sticky={"Header": "X-U"}))
    assert Sticky(header="x-u") == compiled.sticky == compiled.table.routes[0].split.sticky


def test_every_setting_of_the_policy_arrives():
    """Each field of the document changes the field of the configuration that has its name."""
    compiled = plan(
        policy(
            Timeout="2s",
            Balancer="round_robin",
            Retry={
                "Attempts": 4,
                "PerTryTimeout": "300ms",
                "Backoff": {"Base": "5ms", "Cap": "50ms"},
                "Budget": {"Share": 0.5, "Floor": 3, "Window": "1m"},
            },
            Outlier={
                "ConnectFailures": 3,
                "Failures": 9,
                "SuccessRate": 0.5,
                "Requests": 20,
                "Window": "30s",
                "Cooldown": "2s",
                "MaxCooldown": "1m30s",
                "Jitter": 0.25,
                "Lease": "11s",
                "MaxEjected": 0.3,
                "MinEndpoints": 4,
                "Bias": 0.2,
                "Panic": 0.6,
                "Stall": 0.7,
                "Poison": "1m",
            },
            Locality={"Mode": "failover", "Overprovisioning": 1.2, "MinEndpoints": 9},
            Session={"Cookie": "sid", "Ttl": "1h", "Path": "/shop", "Strict": True},
            Connect={"Timeout": "100ms", "Idle": "9s"},
        )
    )
    assert compiled.config == UpstreamConfig(
        timeout=2.0,
        balancer="round_robin",
        retry=RetryConfig(
            attempts=4,
            per_try_timeout=0.3,
            backoff=BackoffConfig(base=0.005, cap=0.05),
            budget=BudgetConfig(share=0.5, floor=3.0, window=60.0),
        ),
        outlier=OutlierConfig(
            connect_failures=3,
            failures=9,
            success_rate=0.5,
            requests=20,
            window=30.0,
            cooldown=2.0,
            max_cooldown=90.0,
            jitter=0.25,
            lease=11.0,
            max_ejected=0.3,
            min_endpoints=4,
            bias=0.2,
            panic=0.6,
            stall=0.7,
            poison=60.0,
        ),
        locality=LocalityConfig(mode="failover", overprovisioning=1.2, min_endpoints=9),
        session=SessionConfig(cookie="sid", ttl=3600.0, path="/shop", strict=True),
        connect=ConnectConfig(timeout=0.1, idle=9.0),
    )


def names(kind):
    """Field names of a struct, and of the structs within, `X | None` taken as X."""
    found = {}
    for field in msgspec.inspect.type_info(kind).fields:
        options = getattr(field.type, "types", (field.type,))
        inner = [o.cls for o in options if isinstance(o, msgspec.inspect.StructType)]
        found[field.name] = names(inner[0]) if inner else None
    return found


def test_the_policy_document_has_the_fields_of_the_configuration():
    """One to one: a setting that is added to the one must be added to the other."""
    ours = names(TrafficPolicy)
    routing = ("routes", "mirror", "fault", "fallback")
    for extra in ("kind", "name", "meta", "sticky", "serving", *routing):
        del ours[extra]
    assert names(UpstreamConfig) == ours


def test_the_resolvers_times_are_honoured():
    """ConnectTimeout and RequestTimeout shape the calls; zero says nothing."""
    config = plan(resolver(ConnectTimeout="3s", RequestTimeout="1m"), policy(Balancer=None)).config
    assert (3.0, 60.0) == (config.connect.timeout, config.timeout)
    assert float is type(config.timeout) is type(config.connect.timeout)
    assert UpstreamConfig() == plan(resolver(ConnectTimeout="0s", RequestTimeout="0s")).config


@pytest.mark.parametrize(
    ("ours", "theirs", "path"),
    [
        ({"Timeout": "2s"}, {"RequestTimeout": "5s"}, "Timeout"),
        ({"Connect": {"Timeout": "2s"}}, {"ConnectTimeout": "5s"}, "Connect.Timeout"),
    ],
)
def test_documents_that_contradict_each_other_are_refused(ours, theirs, path):
    """Which of two times is meant is not guessed; saying the same twice is fine."""
    refused = refusal(resolver(**theirs), policy(**ours))
    assert (f"traffic-policy/backend.{path}", "2s") == (refused.path, refused.value)
    assert "'5s', as service-resolver/backend." in refused.why
    same = dict.fromkeys(theirs, "2s")
    assert plan(resolver(**same), policy(**ours)) == plan(policy(**ours), resolver(**same))


def test_a_leg_to_a_subset_nobody_defined_is_refused():
    """The error names the leg, the subset, and those that exist."""
    refused = refusal(resolver(), splitter((90, "v1"), (10, "v3")))
    assert "service-splitter/backend.Splits[1].ServiceSubset" == refused.path
    assert ("v3", "expected one of v1, v2") == (refused.value, refused.why)
    assert "service-resolver/backend" in refused.hint


def test_what_is_not_http_is_not_split():
    """As in Consul, a tcp service has no requests that could go different ways."""
    refused = refusal(resolver(), splitter((90, "v1"), (10, "v2")), defaults("tcp"))
    assert "service-defaults/backend.Protocol" == refused.path
    assert "tcp" == plan(resolver(), defaults("tcp")).protocol


def test_documents_of_others_are_refused():
    """A plan is made of one service's documents, one of a kind."""
    stranger = Document("service-defaults", "frontend", {})
    assert "service-defaults/frontend" == refusal(stranger).path
    assert "one document of a kind" in refusal(defaults("http"), defaults("grpc")).why


def test_a_bad_document_fails_the_plan():
    """The caller keeps the plan it had; nothing is left out."""
    assert "traffic-policy/backend.Timeout" == refusal(policy(Timeout="x")).path


def test_intentions_take_no_part_in_the_plan():
    """Who may call is the callee's to decide: its callers do not even read it."""
    bad = Document("service-intentions", "backend", {"Sources": 7})
    assert compile_plan("backend", ()) == compile_plan("backend", (bad,))


def test_equal_documents_make_equal_plans():
    """Whatever their order and version; and another weight makes another plan."""
    documents = resolver(), splitter((90, "v1"), (10, "v2")), policy(Sticky={"Cookie": "u"})
    newer = (Document(d.kind, d.name, dict(d.body), d.version + 1) for d in reversed(documents))
    assert plan(*documents) == plan(*newer)
    assert hash(plan(*documents)) == hash(plan(*documents))
    assert plan(*documents) != plan(resolver(), splitter((80, "v1"), (20, "v2")), documents[2])
