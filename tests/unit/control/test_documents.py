from __future__ import annotations

from math import nan
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.documents import (
    KINDS,
    ServiceDefaults,
    decode,
    validate,
)
from meshlib.control.registry import Document
from meshlib.control.resolver import ResolverSubset, ServiceResolver
from meshlib.errors import ConfigError

NEITHER = {"Header": "", "Cookie": ""}
HALVES = [{"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, "ServiceSubset": "v2"}]


def document(kind, body, name="backend"):
    """A document as a store holds it."""
    return Document(kind, name, body)


def refused_or_none(kind, body):
    """The ConfigError, if there is one; anything else is raised."""
    try:
        validate(document(kind, body))
    except ConfigError as refused:
        return refused
    return None


def refusal(kind, body, name="backend"):
    """The ConfigError that this body must raise."""
    with pytest.raises(ConfigError) as refused:
        validate(document(kind, body, name))
    return refused.value


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("service-defaults", {}),
        ("service-defaults", {"Protocol": "grpc", "Meta": {"owner": "x" * 512}}),
        ("service-defaults", {"Kind": "service-defaults", "Name": "backend"}),
        ("service-resolver", {"Subsets": {"v1": {}, "v2": {"Filter": "Service.Port == 1"}}}),
        ("service-resolver", {"DefaultSubset": "v1", "Subsets": {"v1": {"OnlyPassing": True}}}),
        ("service-resolver", {"ConnectTimeout": "250ms", "RequestTimeout": "0s"}),
        ("service-splitter", {"Splits": HALVES, "Meta": {"phase": "step 3"}}),
        ("service-splitter", {"Splits": [{"Weight": 99.99}, {"Weight": 0.01, "Service": "b2"}]}),
        ("traffic-policy", {}),
        ("traffic-policy", {"Sticky": {"Header": "x-user"}, "Timeout": None}),
        ("traffic-policy", {"Retry": {"Backoff": {"Base": "10ms", "Cap": "1s"}}}),
        ("traffic-policy", MappingProxyType({"Timeout": "2s"})),
    ],
)
def test_good_documents_are_good(kind, body):
    """What Consul accepts of the fields that are honoured is accepted."""
    assert None is validate(document(kind, body))


@pytest.mark.parametrize(
    ("kind", "body", "where", "value", "right"),
    [
        # fields
        ("service-defaults", {"MeshGateway": {}}, ".MeshGateway", {}, "Kind, Name, Meta, Protocol"),
        ("service-defaults", {"protocol": "http"}, ".protocol", "http", "Protocol"),
        ("service-resolver", {"Subsets": {"a": {"Fliter": 1}}}, ".Subsets.a.Fliter", 1, "Filter"),
        ("service-splitter", {}, ".Splits", None, "must be given"),
        ("traffic-policy", {"Retry": {"Attemps": 2}}, ".Retry.Attemps", 2, "Attempts, On"),
        ("traffic-policy", {"Retry": {"Budget": {"X": 1}}}, ".Retry.Budget.X", 1, "Share, Floor"),
        # types
        ("service-defaults", [], "", [], "an object, got a list"),
        ("service-defaults", {"Protocol": "udp"}, ".Protocol", "udp", "grpc, http, http2, tcp"),
        ("service-resolver", {"Subsets": {"v1": 3}}, ".Subsets.v1", 3, "an object"),
        ("service-resolver", {"Subsets": []}, ".Subsets", [], "an object"),
        ("service-splitter", {"Splits": {}}, ".Splits", {}, "a list"),
        ("service-splitter", {"Splits": [{"Weight": "9"}]}, ".Splits[0].Weight", "9", "a number"),
        ("service-splitter", {"Splits": [{"Weight": True}]}, ".Splits[0].Weight", True, "a number"),
        (
            "traffic-policy",
            {"Balancer": "best"},
            ".Balancer",
            "best",
            "random, ring_hash, round_robin",
        ),
        ("traffic-policy", {"Retry": {"Attempts": "3"}}, ".Retry.Attempts", "3", "an integer"),
        # envelope
        ("service-defaults", {"Name": "web"}, ".Name", "web", "'backend'"),
        ("service-defaults", {"Kind": "x"}, ".Kind", "x", "'service-defaults'"),
        # meta
        ("service-defaults", {"Meta": {"ok": "", "n": 1}}, ".Meta.n", 1, "a string"),
        ("service-splitter", {"Splits": [], "Meta": {"a": "", "n": 1}}, ".Meta.n", 1, "a string"),
        ("service-defaults", {"Meta": {"a.b": "x" * 513}}, ".Meta.a.b", "x" * 513, "at most 512"),
        # subsets
        ("service-resolver", {"DefaultSubset": "v1"}, ".DefaultSubset", "v1", "none is defined"),
        (
            "service-resolver",
            {"DefaultSubset": "v3", "Subsets": {"v2": {}, "v1": {}}},
            ".DefaultSubset",
            "v3",
            "one of v1, v2",
        ),
        ("service-resolver", {"Subsets": {"V1": {}}}, ".Subsets.V1", "V1", "a-z"),
        ("service-resolver", {"Subsets": {"": {}}}, ".Subsets.", "", "1 to 63"),
        (
            "service-resolver",
            {"Subsets": {"ok": {}, "a.b": {"Filter": "Service.Port == 1 adn"}}},
            ".Subsets.a.b.Filter",
            "Service.Port == 1 adn",
            "at column 19",
        ),
        # weights
        ("service-splitter", {"Splits": [{"Weight": -1}]}, ".Splits[0].Weight", -1, "0..100"),
        ("service-splitter", {"Splits": [{"Weight": 101}]}, ".Splits[0].Weight", 101, "0..100"),
        ("service-splitter", {"Splits": []}, ".Splits", [], "add up to 100, these make 0"),
        ("service-splitter", {"Splits": [{"Weight": 99}]}, ".Splits", [99], "make 99"),
        ("service-splitter", {"Splits": HALVES[:1] * 2}, ".Splits[1]", ("", "v1"), "once"),
        # durations
        ("service-resolver", {"ConnectTimeout": "5"}, ".ConnectTimeout", "5", "such as"),
        ("service-resolver", {"ConnectTimeout": 5}, ".ConnectTimeout", 5, "such as"),
        ("service-resolver", {"RequestTimeout": "-1s"}, ".RequestTimeout", "-1s", "not negative"),
        ("traffic-policy", {"Timeout": "0s"}, ".Timeout", "0s", "a duration > 0"),
        ("traffic-policy", {"Outlier": {"Lease": "0s"}}, ".Outlier.Lease", "0s", "a duration > 0"),
        ("traffic-policy", {"Connect": {"Idle": "x"}}, ".Connect.Idle", "x", "such as"),
        # policies
        ("traffic-policy", {"Retry": {"Attempts": 0}}, ".Retry.Attempts", 0, "1..10"),
        (
            "traffic-policy",
            {"Retry": {"PerTryTimeout": "0s"}},
            ".Retry.PerTryTimeout",
            "0s",
            "a duration > 0",
        ),
        (
            "traffic-policy",
            {"Retry": {"Backoff": {"Base": "1s"}}},
            ".Retry.Backoff.Cap",
            0.25,
            "at least base (1)",
        ),
        ("traffic-policy", {"Retry": {"Budget": {"Share": -1}}}, ".Retry.Budget.Share", -1, ">= 0"),
        ("traffic-policy", {"Outlier": {"Jitter": 1.5}}, ".Outlier.Jitter", 1.5, "0..1"),
        ("traffic-policy", {"Outlier": {"Failures": 0}}, ".Outlier.Failures", 0, ">= 1"),
        ("traffic-policy", {"Outlier": {"Panic": 50}}, ".Outlier.Panic", 50, "0..1"),
        ("traffic-policy", {"Outlier": {"Poison": "-1s"}}, ".Outlier.Poison", "-1s", "negative"),
        ("traffic-policy", {"Locality": {"Mode": "near"}}, ".Locality.Mode", "near", "zone_aware"),
        (
            "traffic-policy",
            {"Locality": {"Overprovisioning": 0.5}},
            ".Locality.Overprovisioning",
            0.5,
            ">= 1",
        ),
        (
            "traffic-policy",
            {"Session": {"Cookie": "s", "Path": "shop"}},
            ".Session.Path",
            "shop",
            "begins with /",
        ),
        # stickiness
        ("traffic-policy", {"Sticky": {}}, ".Sticky", NEITHER, "either a Header or"),
        ("traffic-policy", {"Sticky": {"Header": "x y"}}, ".Sticky.Header", "x y", "a name"),
        ("traffic-policy", {"Sticky": {"Query": "u"}}, ".Sticky.Query", "u", "Header, Cookie"),
    ],
)
def test_bad_input_is_named_with_its_path_its_value_and_what_is_right(
    kind, body, where, value, right
):
    """The error alone is enough to find the mistake and to mend it."""
    refused = refusal(kind, body)
    assert f"{kind}/backend{where}" == refused.path
    assert value == refused.value
    assert right in refused.why


def test_a_weight_that_is_no_number_is_refused():
    """NaN passes for a float, but not for a share."""
    refused = refusal("service-splitter", {"Splits": [{"Weight": 50}, {"Weight": nan}]})
    assert "service-splitter/backend.Splits[1].Weight" == refused.path


def test_unknown_kinds_list_the_known():
    """A typing error in the kind is answered with what exists."""
    refused = refusal("service-defalts", {})
    assert ("service-defalts/backend", "service-defalts") == (refused.path, refused.value)
    assert all(kind in refused.why for kind in KINDS)


def test_a_document_needs_a_name():
    """A document of nobody is refused."""
    assert "the name of a service" in refusal("service-defaults", {}, name="").why


def test_what_is_not_said_has_consuls_meaning():
    """Empty documents decode to the defaults."""
    assert ServiceDefaults(protocol="http") == decode(document("service-defaults", {}))
    assert ServiceResolver() == decode(document("service-resolver", {}))


def test_a_resolver_is_decoded():
    """Subsets, timeouts in seconds, and free words arrive."""
    body = {
        "DefaultSubset": "v1",
        "Subsets": {"v1": {"Filter": "Service.Meta.version == v1", "OnlyPassing": True}},
        "ConnectTimeout": "1m30s",
        "Meta": {"owner": "team"},
    }
    entry = decode(document("service-resolver", body))
    assert {"v1": ResolverSubset(filter="Service.Meta.version == v1", only_passing=True)} == (
        entry.subsets
    )
    assert ("v1", 90.0, {"owner": "team"}) == (
        entry.default_subset,
        entry.connect_timeout,
        entry.meta,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
HOSTILE = "x` - at `$.Meta[...]"
FIELDS = st.just(HOSTILE) | st.sampled_from(
    ["Kind", "Name", "Meta", "Subsets", "DefaultSubset", "Splits", "Retry", "Sticky", "Timeout"]
)


@given(st.sampled_from([*KINDS, "nope"]), st.dictionaries(FIELDS, JSON, max_size=3))
def test_no_json_raises_anything_but_config_errors(kind, body):
    """A document of any content is accepted, or refused with a path that begins with its own."""
    refused = refused_or_none(kind, body)
    assert refused is None or refused.path.startswith(f"{kind}/backend")


@given(st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=3))
def test_no_subset_raises_anything_but_config_errors(subsets):
    """The same where a map of structs stands."""
    refused = refused_or_none("service-resolver", {"Subsets": subsets})
    assert refused is None or refused.path.startswith("service-resolver/backend.Subsets.")
