from __future__ import annotations

from dataclasses import replace

import pytest

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
