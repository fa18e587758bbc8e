"""Legs to services that split or redirect their calls themselves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from meshlib.control.compile import compile_plan
from meshlib.control.links import DEEPEST
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.model import Call, Target
from meshlib.route.headers import HeaderChanges


def splits(name, *legs):
    """A splitter of (weight, "service" or "subset.service") or (weight, target, more fields)."""
    splits = []
    for weight, target, more in ((*leg, {})[:3] for leg in legs):
        subset, _, service = target.rpartition(".")
        splits.append({"Weight": weight, "Service": service, "ServiceSubset": subset, **more})
    return Document("service-splitter", name, {"Splits": splits})


def redirects(name, service, subset=""):
    """A resolver that sends everything on."""
    body = {"Redirect": {"Service": service, "ServiceSubset": subset}}
    return Document("service-resolver", name, body)


def routes(name, **destination):
    """A router with one route for `/x`."""
    match = {"HTTP": {"PathPrefix": "/x"}}
    return Document(
        "service-router", name, {"Routes": [{"Match": match, "Destination": destination}]}
    )


def plan(*documents, service="a"):
    """The plan for `service`, in a world with these documents."""

    def named(name):
        return tuple(document for document in documents if document.name == name)

    return compile_plan(service, named(service), others=named)


def shares(compiled, path="/"):
    """Percent by target."""
    split = compiled.table.match(Call("a", path=path)).split
    return {str(leg.target): leg.weight for leg in split.legs}


def refusal(*documents):
    """The ConfigError that these documents must raise."""
    with pytest.raises(ConfigError) as refused:
        plan(*documents)
    return refused.value


def test_splitters_that_follow_each_other_are_one():
    """As in Consul, whose own check has half of a quarter: the weights are multiplied."""
    b = splits("b", (25, "v1.b"), (25, "v2.b"), (50, "c"))
    assert {"d": 50, "v1.b": 12.5, "v2.b": 12.5, "c": 25} == shares(
        plan(splits("a", (50, "d"), (50, "b")), b)
    )


def test_any_number_of_them():
    """A chain of splitters keeps a whole of 100."""
    chain = [
        splits(here, (50, f"v1.{here}"), (50, there))
        for here, there in zip("abc", "bcd", strict=True)
    ]
    assert {"v1.b": 25, "v1.c": 12.5, "d": 12.5} == {
        target: weight
        for target, weight in shares(plan(*chain, subsets("a"))).items()
        if target != "v1.a"
    }


def subsets(name):
    """A resolver with the subset v1."""
    return Document("service-resolver", name, {"Subsets": {"v1": {}}})


def test_a_leg_with_a_subset_goes_past_the_splitter():
    """Who names a subset has chosen."""
    b = splits("b", (50, "v1.b"), (50, "c"))
    assert {"d": 90, "v2.b": 10} == shares(plan(splits("a", (90, "d"), (10, "v2.b")), b))


def test_a_splitters_own_leg_ends_there():
    """`b` without a subset, in the splitter of b, means b's endpoints."""
    b = splits("b", (50, "b"), (50, "c"))
    assert {"b": 50, "c": 50} == shares(plan(splits("a", (100, "b")), b))


def test_redirects_are_followed():
    """However many there are, and to the subset that the last one names."""
    world = splits("a", (90, "a"), (10, "b")), redirects("b", "c"), redirects("c", "d", "v3")
    assert {"a": 90, "v3.d": 10} == shares(plan(*world))


def test_a_redirect_goes_past_the_splitter():
    """Redirects are between resolvers, in Consul too."""
    world = splits("a", (90, "a"), (10, "b")), redirects("b", "c"), splits("c", (100, "d"))
    assert {"a": 90, "c": 10} == shares(plan(*world))


def test_the_services_own_redirect_goes_on():
    """From a to b, and where b's calls go."""
    assert {"c": 100} == shares(plan(redirects("a", "b"), redirects("b", "c")))


def test_legs_that_meet_are_one():
    """A target that two ways lead to has the weight of both."""
    world = splits("a", (60, "c"), (40, "b")), redirects("b", "c")
    assert {"c": 100} == shares(plan(*world))


def test_a_route_leads_on_as_a_leg_does():
    """Without a subset to the service's splitter, with one to its endpoints."""
    b = splits("b", (50, "v1.b"), (50, "c"))
    assert {"v1.b": 50, "c": 50} == shares(plan(routes("a", Service="b"), b), "/x")
    assert {"v1.b": 100} == shares(plan(routes("a", Service="b", ServiceSubset="v1"), b), "/x")
    assert {"c": 100} == shares(plan(routes("a", Service="b"), redirects("b", "c")), "/x")


def test_failover_targets_are_redirected():
    """Where the list leads is where its targets' own redirects lead."""
    body = {"Failover": {"*": {"Targets": [{"Service": "b"}, {"Service": "d"}]}}}
    world = Document("service-resolver", "a", body), redirects("b", "c")
    assert {"*": (Target("c"), Target("d"))} == plan(*world).failover


def test_headers_are_changed_on_all_of_the_way():
    """A request passes the outer leg first, an answer the inner one."""
    outer = {"RequestHeaders": {"Set": {"x-way": "a"}}, "ResponseHeaders": {"Set": {"x-last": "a"}}}
    inner = {"RequestHeaders": {"Add": {"x-way": "b"}}, "ResponseHeaders": {"Set": {"x-last": "b"}}}
    compiled = plan(splits("a", (50, "d"), (50, "b", outer)), splits("b", (100, "c", inner)))
    leg = compiled.table.match(Call("a")).split.legs[1]
    assert ["a", "b"] == leg.request.applied({"x-way": "0"}).getall("x-way")
    assert HeaderChanges(set=(("x-last", "a"),)) == leg.response


@pytest.mark.parametrize(
    ("world", "path", "way"),
    [
        (
            [splits("a", (50, "d"), (50, "b")), splits("b", (100, "a"))],
            "service-splitter/a.Splits[1].Service",
            "a -> b -> a",
        ),
        (
            [splits("a", (100, "b")), splits("b", (100, "c")), splits("c", (50, "d"), (50, "b"))],
            "service-splitter/a.Splits[0].Service",
            "a -> b -> c -> b",
        ),
        (
            [redirects("a", "b"), redirects("b", "a")],
            "service-resolver/a.Redirect.Service",
            "a -> b -> a",
        ),
        (
            [routes("a", Service="b"), redirects("b", "c"), redirects("c", "b")],
            "service-router/a.Routes[0].Destination.Service",
            "b -> c -> b",
        ),
    ],
)
def test_a_circle_is_refused(world, path, way):
    """The error names the leg it begins with, and the way."""
    refused = refusal(*world)
    assert path == refused.path
    assert f"expected a way that ends, which {way} does not" == refused.why


def test_a_way_back_to_a_subset_is_no_circle():
    """A subset is endpoints: there it ends."""
    world = subsets("a"), splits("a", (50, "v1.a"), (50, "b")), splits("b", (50, "c"), (50, "v1.a"))
    assert {"v1.a": 75, "c": 25} == shares(plan(*world))


def test_the_way_is_bounded():
    """So many services in a row are a mistake, or an attack."""
    names = ["a", *(f"s{number}" for number in range(DEEPEST + 1))]
    chain = [splits(here, (50, "x"), (50, there)) for here, there in pairwise(names)]
    assert "at most 8 services on the way" in refusal(*chain).why
    assert {"x", "s7"} == shares(plan(*chain[:-1])).keys()
