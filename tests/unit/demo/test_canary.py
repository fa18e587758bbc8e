from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.control.documents import NotHttp
from meshlib.control.edit import TRIES
from meshlib.control.registry import Document
from meshlib.demo.canary import set_split, split_in
from meshlib.errors import ConfigError, ControlError


class Documents:
    """Documents in memory, with somebody else who writes first for so many times."""

    def __init__(self, *documents, busy=0):
        self.stored = {(each.kind, each.name): each for each in documents}
        self.busy = busy

    def get(self, kind, name):
        return self.stored.get((kind, name))

    def put(self, document, *, cas=False):
        assert cas
        key = document.kind, document.name
        found = self.stored.get(key)
        if self.busy:
            self.busy -= 1
            others = found or replace(document, body={"Kind": document.kind})
            self.stored[key] = replace(others, version=others.version + 1)
            return False
        if document.version != (found.version if found else 0):
            return False
        self.stored[key] = replace(document, version=document.version + 1)
        return True


def test_a_split_needs_two_documents():
    """A subset a version and a leg a subset, in Consul's words."""
    documents = Documents()
    set_split(documents, "backend", {"v1": 90.0, "v2": 10.0})
    resolver = documents.get("service-resolver", "backend").body
    assert {
        "v1": {"Filter": 'Service.Meta.version == "v1"'},
        "v2": {"Filter": 'Service.Meta.version == "v2"'},
    } == resolver["Subsets"]
    assert {"v1": 90.0, "v2": 10.0} == split_in(documents.stored.values())


def test_subsets_of_others_stay():
    """A subset that exists keeps its filter, and other fields keep their values."""
    body = {"Subsets": {"v1": {"Filter": "mine"}}, "ConnectTimeout": "5s"}
    documents = Documents(Document("service-resolver", "backend", body, 7))
    set_split(documents, "backend", {"v1": 50.0, "v2": 50.0})
    stored = documents.get("service-resolver", "backend").body
    assert "mine" == stored["Subsets"]["v1"]["Filter"]
    assert "5s" == stored["ConnectTimeout"]


@pytest.mark.parametrize("weights", [{"v1": 90.0}, {"v1": 90.0, "v2": 11.0}, {}])
def test_what_is_not_a_hundred_is_refused(weights):
    """The sum is told, and nothing is written."""
    documents = Documents()
    with pytest.raises(ConfigError, match="split of backend"):
        set_split(documents, "backend", weights)
    assert {} == documents.stored


def test_a_lost_race_is_run_again():
    """Somebody who writes in between does not stop the split, nor is their change overwritten."""
    documents = Documents(busy=3)
    set_split(documents, "backend", {"v1": 100.0})
    assert {"v1": 100.0} == split_in(documents.stored.values())


def test_races_are_not_run_for_ever():
    """Who loses every time is told."""
    with pytest.raises(ControlError, match="was not written"):
        set_split(Documents(busy=TRIES), "backend", {"v1": 100.0})


def test_without_a_splitter_there_is_no_split():
    """An unsplit service has no shares."""
    assert {} == split_in(())


class Consul(Documents):
    """Refuses splits of services that nobody has said to speak HTTP."""

    def put(self, document, *, cas=False):
        defaults = self.get("service-defaults", document.name)
        spoken = defaults.body.get("Protocol", "tcp") if defaults else "tcp"
        if document.kind == "service-splitter" and spoken == "tcp":
            raise NotHttp("service-splitter/backend", "backend", "http")
        return super().put(document, cas=cas)


def test_where_nothing_is_http_unless_it_is_said():
    """A service that may be split speaks HTTP, so that is said for it."""
    documents = Consul()
    set_split(documents, "backend", {"v1": 90.0, "v2": 10.0})
    assert {"v1": 90.0, "v2": 10.0} == split_in(documents.stored.values())
    assert "http" == documents.get("service-defaults", "backend").body["Protocol"]


def test_who_is_said_to_speak_something_else_is_left_alone():
    """The refusal is told."""
    documents = Consul(Document("service-defaults", "backend", {"Protocol": "tcp"}, 1))
    with pytest.raises(NotHttp):
        set_split(documents, "backend", {"v1": 100.0})
    assert "tcp" == documents.get("service-defaults", "backend").body["Protocol"]


def chain(nodes, start):
    """A chain as Consul compiles it."""
    subsets = ("v1", "v2")
    targets = {each: {"Service": "backend", "ServiceSubset": each} for each in subsets}
    ends = {each: {"Type": "resolver", "Resolver": {"Target": each}} for each in subsets}
    body = {"ServiceName": "backend", "StartNode": start, "Nodes": {**ends, **nodes}}
    return Document("discovery-chain", "backend", {**body, "Targets": targets})


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"v1": 66.66, "v2": 33.33}, {"v1": 66.67, "v2": 33.33}),
        ({"v1": 100}, {"v1": 100.0}),
        ({"v1": 100, "v2": 0}, {"v1": 100.0, "v2": 0.0}),
    ],
)
def test_a_compiled_chain_tells_its_split(weights, expected):
    """As it was written, where Consul has put something else in its place."""
    splits = [{"Weight": weight, "NextNode": name} for name, weight in weights.items()]
    document = chain({"s": {"Type": "splitter", "Splits": splits}}, "s")
    assert expected == split_in((document,))


def test_a_chain_without_a_splitter_has_no_split():
    """Though all calls go to one subset."""
    assert {} == split_in((chain({}, "v1"),))
    assert {} == split_in((Document("discovery-chain", "backend", {"Refused": "no rights"}),))
