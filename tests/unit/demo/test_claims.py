"""Every claim is shown evidence that proves it, and evidence that must break it."""

from __future__ import annotations

import pytest

from meshlib.demo import claims
from meshlib.demo.traffic import Tally

NINETY_TEN = {"v1": 90.0, "v2": 10.0}
ROOT = {
    "span_id": "a",
    "parent_id": "",
    "service": "frontend",
    "kind": "server",
    "name": "GET",
}


def counted(good: int, bad: int = 0) -> Tally:
    tally = Tally(clock=lambda: 0.0)
    for _ in range(good):
        tally.good(("backend", "v1", "backend-a"), 1.0)
    for number in range(bad):
        tally.bad(("backend", "-", "no answer"), 1.0, f"problem {number}")
    return tally


def span(name: str, parent: str, service: str) -> dict[str, str]:
    return {**ROOT, "span_id": name, "parent_id": parent, "service": service}


WHOLE_TRACE = [ROOT, span("b", "a", "backend"), span("c", "b", "database")]


@pytest.mark.parametrize(
    ("seen", "holds"),
    [
        ({"v1": 900, "v2": 100}, True),
        ({"v1": 880, "v2": 120}, True),
        ({"v1": 860, "v2": 140}, False),
        ({"v1": 1000}, False),
        ({"v1": 500, "v2": 500}, False),
        ({"v1": 899, "v2": 100, "v3": 1}, False),
        ({}, False),
    ],
)
def test_a_split_holds_only_near_what_was_set(seen, holds):
    """What chance explains holds; what it does not, a third version, and nothing at all do not."""
    assert holds is claims.split("split", NINETY_TEN, seen).holds


@pytest.mark.parametrize(
    ("received", "member", "holds"),
    [
        ({"a": 0, "b": 0}, {"a": 700, "b": 700}, True),
        ({"a": 0, "b": 1}, {"a": 700, "b": 700}, False),
        ({"a": 0, "b": 0}, {"a": 700, "b": 0}, False),
        ({"a": 0}, {"a": 700, "b": 700}, False),
        ({}, {}, False),
    ],
)
def test_strangers_must_get_nothing_where_members_get_something(received, member, holds):
    """One byte breaks it, and so does a door that opens to nobody or was not tried."""
    assert holds is claims.refused("plain_http", "a stranger", received, member).holds


@pytest.mark.parametrize(
    ("code", "served", "after", "bad", "holds"),
    [
        (-9, 40, 450, 0, True),
        (-9, 40, 450, 1, False),
        (0, 40, 450, 0, False),
        (-9, 0, 450, 0, False),
        (-9, 40, 0, 0, False),
    ],
)
def test_a_kill_must_be_one_and_cost_nothing(code, served, after, bad, holds):
    """A failure, another signal, an idle victim or silence afterwards break the claim."""
    assert holds is claims.survived_kill("b", code, served, after, counted(600, bad)).holds


@pytest.mark.parametrize(
    ("code", "served", "after", "bad", "holds"),
    [
        (0, 40, 450, 0, True),
        (0, 40, 450, 1, False),
        (-9, 40, 450, 0, False),
        (0, 0, 450, 0, False),
        (0, 40, 0, 0, False),
    ],
)
def test_a_drain_must_end_by_itself_and_cost_nothing(code, served, after, bad, holds):
    """A failure, a kill in the end, an idle instance or silence afterwards break the claim."""
    assert holds is claims.survived_drain("b", code, served, after, counted(600, bad)).holds


@pytest.mark.parametrize(
    ("trace_id", "spans", "holds"),
    [
        ("1f", WHOLE_TRACE, True),
        ("", WHOLE_TRACE, False),
        ("1f", WHOLE_TRACE[:2], False),
        ("1f", [ROOT, span("c", "b", "database"), span("d", "a", "backend")], False),
        ("1f", [*WHOLE_TRACE, span("z", "", "frontend")], False),
        ("1f", [], False),
    ],
)
def test_a_trace_is_one_tree_over_all_services(trace_id, spans, holds):
    """A missing service, a lost parent, a second root or no trace at all break the claim."""
    assert holds is claims.one_trace(trace_id, spans).holds


@pytest.mark.parametrize(("good", "bad", "holds"), [(10, 0, True), (10, 1, False), (0, 0, False)])
def test_nothing_may_fail(good, bad, holds):
    """One failure breaks it, and so does a story without requests."""
    assert holds is claims.nothing_failed(counted(good, bad)).holds


def test_a_broken_claim_says_what_broke_it():
    """The sentence carries the first failure and the reason."""
    says = claims.survived_kill("b", 0, 40, 450, counted(9, 2)).says
    assert "2 failures in 11 requests (the first: problem 0), but it was not killed" in says


def test_the_summary_is_ok_only_if_every_claim_holds():
    """One claim that does not hold makes the whole story untrue, and so does none at all."""
    good, bad = claims.nothing_failed(counted(1)), claims.nothing_failed(counted(1, 1))
    assert claims.summary([good], counted(1), 1.0)["ok"] is True
    assert claims.summary([good, bad], counted(1), 1.0)["ok"] is False
    assert claims.summary([], counted(1), 1.0)["ok"] is False


def test_the_summary_is_what_the_readme_promises():
    """Totals, seconds and each claim by its name with its evidence."""
    told = claims.summary([claims.nothing_failed(counted(3, 1))], counted(3, 1), 12.34)
    assert {"requests": 4, "failures": 1} == told["total"]
    assert 12.3 == told["seconds"]
    assert 1 == told["claims"]["no_failures"]["failures"]
