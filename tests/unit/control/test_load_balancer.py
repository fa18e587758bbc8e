"""`LoadBalancer` of a `service-resolver`."""

from __future__ import annotations

import pytest

from meshlib.config import HashConfig, HashKeyConfig, UpstreamConfig
from meshlib.control.compile import compile_plan
from meshlib.control.registry import Document
from meshlib.errors import ConfigError

WHERE = "service-resolver/web.LoadBalancer"
USER = {"Field": "header", "FieldValue": "x-user-id"}


def config(policy=None, **balancer):
    """The settings of a service with this balancer, and this traffic-policy if there is one."""
    documents = [Document("service-resolver", "web", {"LoadBalancer": balancer})]
    if policy is not None:
        documents.append(Document("traffic-policy", "web", policy))
    return compile_plan("web", tuple(documents)).config


def refusal(policy=None, **balancer):
    """The ConfigError that they must raise."""
    with pytest.raises(ConfigError) as refused:
        config(policy, **balancer)
    return refused.value


def test_the_example_of_consuls_documentation():
    """Maglev by a header, ring hash by a header or a cookie, least request of two."""
    assert UpstreamConfig(
        balancer="maglev", hashing=HashConfig(keys=(HashKeyConfig(header="x-user-id"),))
    ) == config(Policy="maglev", HashPolicies=[USER])
    assert UpstreamConfig(
        balancer="ring_hash",
        hashing=HashConfig(
            keys=(
                HashKeyConfig(header="x-user-id", terminal=True),
                HashKeyConfig(cookie="sid", ttl=60.0, path="/shop"),
            ),
            min_ring=2048,
            max_ring=4096,
        ),
    ) == config(
        Policy="ring_hash",
        RingHashConfig={"MinimumRingSize": 2048, "MaximumRingSize": 4096},
        HashPolicies=[
            {**USER, "Terminal": True},
            {
                "Field": "cookie",
                "FieldValue": "sid",
                "CookieConfig": {"TTL": "1m", "Path": "/shop"},
            },
        ],
    )
    least = config(Policy="least_request", LeastRequestConfig={"ChoiceCount": 2})
    assert UpstreamConfig(balancer="least_request") == least


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"Field": "query_parameter", "FieldValue": "u"}, HashKeyConfig(query="u")),
        ({"SourceIP": True}, HashKeyConfig(source=True)),
        ({"Field": "cookie", "FieldValue": "sid"}, HashKeyConfig(cookie="sid")),
        (
            {"Field": "cookie", "FieldValue": "sid", "CookieConfig": {"Session": True}},
            HashKeyConfig(cookie="sid", ttl=0.0),
        ),
        (
            {"Field": "cookie", "FieldValue": "sid", "CookieConfig": {"Path": "/x"}},
            HashKeyConfig(cookie="sid"),
        ),
    ],
)
def test_places_of_a_key(policy, expected):
    """Each of Consul's is one of ours; a cookie is set only for Session or a TTL."""
    assert (expected,) == config(Policy="maglev", HashPolicies=[policy]).hashing.keys


@pytest.mark.parametrize("policy", ["random", "round_robin", "least_request"])
def test_the_others_need_nothing(policy):
    """Their name is enough."""
    assert UpstreamConfig(balancer=policy) == config(Policy=policy)


def test_an_empty_policy_says_nothing():
    """The balancer stays the policy's, or the default."""
    assert UpstreamConfig() == config()
    assert "random" == config({"Balancer": "random"}, Policy="").balancer


@pytest.mark.parametrize(
    ("balancer", "path"),
    [
        ({"Policy": "peak_ewma"}, "Policy"),
        ({"Policy": "maglev"}, "HashPolicies"),
        ({"Policy": "random", "HashPolicies": [USER]}, "HashPolicies"),
        ({"Policy": "maglev", "RingHashConfig": {}, "HashPolicies": [USER]}, "RingHashConfig"),
        ({"Policy": "random", "LeastRequestConfig": {}}, "LeastRequestConfig"),
        (
            {"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 5}},
            "LeastRequestConfig.ChoiceCount",
        ),
        (
            {
                "Policy": "ring_hash",
                "RingHashConfig": {"MinimumRingSize": 9, "MaximumRingSize": 8},
                "HashPolicies": [USER],
            },
            "RingHashConfig.MaximumRingSize",
        ),
        ({"Policy": "maglev", "HashPolicies": [{"Field": "body"}]}, "HashPolicies[0].Field"),
        ({"Policy": "maglev", "HashPolicies": [{"Terminal": True}]}, "HashPolicies[0].Field"),
        (
            {"Policy": "maglev", "HashPolicies": [USER, {**USER, "SourceIP": True}]},
            "HashPolicies[1].Field",
        ),
        (
            {"Policy": "maglev", "HashPolicies": [{"Field": "header"}]},
            "HashPolicies[0].FieldValue",
        ),
        (
            {"Policy": "maglev", "HashPolicies": [{**USER, "FieldValue": "a b"}]},
            "HashPolicies[0].FieldValue",
        ),
        (
            {"Policy": "maglev", "HashPolicies": [{**USER, "CookieConfig": {}}]},
            "HashPolicies[0].CookieConfig",
        ),
        (
            {
                "Policy": "maglev",
                "HashPolicies": [
                    {
                        "Field": "cookie",
                        "FieldValue": "c",
                        "CookieConfig": {"Session": True, "TTL": "1s"},
                    }
                ],
            },
            "HashPolicies[0].CookieConfig.TTL",
        ),
        (
            {
                "Policy": "maglev",
                "HashPolicies": [
                    {
                        "Field": "cookie",
                        "FieldValue": "c",
                        "CookieConfig": {"Session": True, "Path": "x"},
                    }
                ],
            },
            "HashPolicies[0].CookieConfig.Path",
        ),
    ],
)
def test_bad_input_is_named(balancer, path):
    """At load time, in the document's words, by Consul's own rules."""
    assert f"{WHERE}.{path}" == refusal(**balancer).path


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"Balancer": "random"}, "Balancer"),
        ({"Hashing": {"Keys": [{"Header": "x-other"}]}}, "Hashing.Keys"),
        ({"Hashing": {"MinRing": 2048}}, "Hashing.MinRing"),
        ({"Hashing": {"MaxRing": 5000}}, "Hashing.MaxRing"),
    ],
)
def test_a_policy_that_says_otherwise_is_refused(policy, path):
    """Which of the two is meant is not guessed."""
    theirs = {
        "Policy": "ring_hash",
        "RingHashConfig": {"MinimumRingSize": 1500, "MaximumRingSize": 4096},
        "HashPolicies": [USER],
    }
    refused = refusal(policy, **theirs)
    assert f"traffic-policy/web.{path}" == refused.path
    assert f"as {WHERE} says" in refused.why


def test_a_policy_may_say_the_same_or_more():
    """What Consul has no words for comes from the policy."""
    same = {"Balancer": "ring_hash", "Hashing": {"Keys": [{"Header": "x-user-id"}]}}
    more = {**same, "Hashing": {**same["Hashing"], "BalanceFactor": 150}}
    made = config(more, Policy="ring_hash", HashPolicies=[USER])
    assert ("ring_hash", 150) == (made.balancer, made.hashing.balance_factor)
    alone = config({"Hashing": {"BalanceFactor": 150}}, Policy="ring_hash", HashPolicies=[USER])
    assert made == alone
