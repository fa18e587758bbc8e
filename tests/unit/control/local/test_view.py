"""Rows and a time -> resolutions."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.local.process import Process
from meshlib.control.local.view import Instance, View
from meshlib.control.registry import Document, Registration
from meshlib.model import Bound, Locality, Neg

BOOT = "boot-1"
NOW = 1000.0


def make(id_: str = "b1", service: str = "backend", boot: str = BOOT, **more: object) -> Instance:
    """A living instance, as of NOW."""
    registration = Registration(
        service, id_, "127.0.0.1", 8001, 3, Locality("eu", "a"), {"version": "v1"}
    )
    return replace(
        Instance(registration, f"token-{id_}", Process(boot, "ns", 7, "99"), 10.0, NOW + 10), **more
    )


def view(*instances: Instance, documents: tuple[Document, ...] = ()) -> View:
    """A store with these rows."""
    registered = frozenset(each.registration.service for each in instances)
    return View(5, instances, registered, documents)


def ids(seen: View, now: float = NOW) -> list[str]:
    """The endpoints of `backend`."""
    ((_, resolution),) = seen.resolve(["backend"], now, BOOT)
    assert isinstance(resolution, Bound)
    return [endpoint.id for endpoint in resolution.snapshot.endpoints]


def test_everything_registered_reaches_the_endpoint() -> None:
    """Address, weight, locality and meta arrive as they were registered."""
    ((_, resolution),) = view(make()).resolve(["backend"], NOW, BOOT)
    endpoint = resolution.snapshot.endpoints[0]
    assert ("127.0.0.1", 8001) == endpoint.address
    assert (3, Locality("eu", "a"), "v1") == (endpoint.weight, endpoint.locality, endpoint.version)


@pytest.mark.parametrize(
    "unusable",
    [
        {"passing": False},
        {"draining": True},
        {"expires_at": NOW},
        {"boot": "another"},
        {"expires_at": NOW + 20.5},
    ],
    ids=["failing", "draining", "expired", "other boot", "clock of an earlier boot"],
)
def test_who_gets_no_traffic(unusable: dict[str, object]) -> None:
    """Only the live, passing and not draining are endpoints; the service stays known."""
    assert ["b2"] == ids(view(make(**unusable), make("b2")))
    assert [] == ids(view(make(**unusable)))


def test_sorted_by_id() -> None:
    """Endpoints come sorted by id, whatever the order of the rows."""
    assert ["a", "b", "c"] == ids(view(make("c"), make("a"), make("b")))


def test_unknown_service_names_the_known_ones() -> None:
    """A service never heard of is negative, and says which there are."""
    documents = (
        Document("service-resolver", "described", {}),
        Document("service-intentions", "*", {}),
        Document("proxy-defaults", "global", {}),
    )
    seen = view(make(), documents=documents)
    assert [("nobody", Neg(("backend", "described")))] == list(seen.resolve(["nobody"], NOW, BOOT))


def test_described_service_without_instances_is_bound() -> None:
    """A service that only has a document is known, and empty."""
    assert [] == ids(view(documents=(Document("service-defaults", "backend", {}),)))


def test_nothing_is_due_when_nobody_lives() -> None:
    """Without a living instance there is no expiry to wait for."""
    assert inf == view(make(expires_at=NOW - 1)).next_expiry(NOW, BOOT)


lives = st.lists(st.floats(NOW - 30, NOW + 20), max_size=8).map(
    lambda ends: view(*(make(f"b{i}", expires_at=end) for i, end in enumerate(ends)))
)


@given(lives, st.floats(0, 30))
def test_nothing_changes_before_the_next_expiry(seen: View, ahead: float) -> None:
    """Until `next_expiry`, and not after it, the same endpoints are live."""
    due = seen.next_expiry(NOW, BOOT)
    seen = View(seen.count, seen.instances, frozenset({"backend"}), ())
    assert ids(seen) == ids(seen, min(NOW + ahead, due - 1e-6) if due < inf else NOW)
    if due < inf:
        assert set(ids(seen, due)) < set(ids(seen))


@given(lives)
def test_each_row_is_dead_or_alive(seen: View) -> None:
    """The dead and the endpoints make up all rows when all want traffic."""
    seen = View(seen.count, seen.instances, frozenset({"backend"}), ())
    dead = {each.registration.id for each in seen.dead(NOW, BOOT)}
    assert {each.registration.id for each in seen.instances} == dead | set(ids(seen))
    assert not dead & set(ids(seen))
