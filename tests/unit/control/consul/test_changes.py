from __future__ import annotations

import pytest

from meshlib.control.consul.changes import Catalog, Checks, ConfigEntries, references


def check(node, service="", status="passing", *, id_="c", created=1, **more):
    named = {"Node": node, "CheckID": id_, "ServiceName": service, "ServiceID": service}
    return {**named, "Status": status, "CreateIndex": created, "ModifyIndex": 1, **more}


BEFORE = [check("n1"), check("n2"), check("n1", "web"), check("n2", "api")]


@pytest.mark.parametrize(
    ("now", "services", "nodes"),
    [
        (BEFORE, set(), set()),
        (BEFORE[::-1], set(), set()),
        ([*BEFORE[:2], check("n1", "web", "critical"), BEFORE[3]], {"web"}, set()),
        ([*BEFORE[:2], check("n1", "web", created=9), BEFORE[3]], {"web"}, set()),
        ([*BEFORE[:2], check("n1", "web", Output="x", ModifyIndex=9), BEFORE[3]], set(), set()),
        ([*BEFORE[:2], check("n1", "web", Notes="10.0.0.1:81"), BEFORE[3]], {"web"}, set()),
        (BEFORE[:3], {"api"}, set()),
        ([*BEFORE, check("n1", "new")], {"new"}, set()),
        ([*BEFORE, check("n2", "web", id_="d")], {"web"}, set()),
        ([check("n1", status="critical"), *BEFORE[1:]], set(), {"n1"}),
        (None, {"web", "api"}, {"n1", "n2"}),
    ],
)
def test_checks_tell_whom_they_concern(now, services, nodes):
    """States, arrivals and departures do; output and the order do not."""
    checks = Checks()
    checks.changed(BEFORE)
    assert (services, nodes) == checks.changed(now)
    assert (set(), set()) == checks.changed(now)


def test_the_catalog_tells_names_and_tags():
    """Of whatever else changes in it, nothing can be seen."""
    catalog = Catalog()
    assert {"web", "api"} == catalog.changed({"web": [], "api": ["a"]})
    assert {"api", "web", "db"} == catalog.changed({"api": ["b"], "db": None})
    assert {"api", "db"} == catalog.names
    assert set() == catalog.changed({"db": [], "api": ["b"]})


def entry(name, version, **more):
    return {"Name": name, "ModifyIndex": version, **more}


ROUTER = entry("web", 1, Routes=[{"Destination": {"Service": "old"}}])
SPLITTER = entry("old", 1, Splits=[{"Weight": 50}, {"Weight": 50, "Service": "api"}])
RESOLVER = entry("api", 1, Failover={"*": {"Targets": [{"Service": "backup"}]}})


def test_all_places_of_a_service_are_found():
    """Routes, splits, redirects, failover in both forms."""
    assert {"old"} == references(ROUTER)
    assert {"api"} == references(SPLITTER)
    assert {"backup"} == references(RESOLVER)
    redirect = {"Redirect": {"Service": "x"}, "Failover": {"a": {"Service": "y"}}}
    assert {"x", "y"} == references(redirect)


def test_whoever_is_led_there_is_concerned():
    """An entry is a part of the chains of all that lead to it, however far."""
    entries = ConfigEntries()
    assert {"web"} == entries.changed("service-router", [ROUTER])
    assert {"old", "web"} == entries.changed("service-splitter", [SPLITTER])
    assert {"api", "old", "web"} == entries.changed("service-resolver", [RESOLVER])
    assert set() == entries.changed("service-resolver", [RESOLVER])
    other = entry("backup", 5)
    assert {"backup", "api", "old", "web"} == entries.changed("service-resolver", [RESOLVER, other])
    assert {"stranger"} == entries.changed("service-defaults", [entry("stranger", 6)])


def test_an_entry_that_goes_concerns_those_it_led_to():
    """The way it led counts once more; after that no longer."""
    entries = ConfigEntries()
    entries.changed("service-router", [ROUTER])
    entries.changed("service-splitter", [SPLITTER])
    assert {"old", "web"} == entries.changed("service-splitter", [])
    assert {"api"} == entries.changed("service-resolver", [RESOLVER])
