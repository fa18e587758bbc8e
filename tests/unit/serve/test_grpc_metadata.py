"""What is read of an RPC's metadata."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.policy import priority
from meshlib.serve.admission import claims_identity
from meshlib.serve.context import CARRIED
from meshlib.serve.grpc import metadata
from meshlib.serve.grpc.metadata import as_text, read, stripped, without_claims

SAID = (
    ("user-agent", "grpc"),
    ("x-mesh-deadline-ms", "900"),
    ("x-mesh-peer", "admin"),
    ("x-envoy-expected-rq-timeout-ms", "800"),
    ("x-mesh-priority", "1"),
    ("twice", "1"),
    ("trace-bin", b"\x00\xff"),
    ("twice", "2"),
)


class Details(NamedTuple):
    method: str
    invocation_metadata: object


def test_one_reading_for_all():
    """The application sees all but claims, in order; the mesh what is meant for it."""
    shown, headers, carried = read(SAID)
    names = ["user-agent", "x-envoy-expected-rq-timeout-ms", "twice", "trace-bin", "twice"]
    assert names == [name for name, _ in shown]
    assert b"\x00\xff" == dict(shown)["trace-bin"]
    assert {"twice": "2", "trace-bin": "AP8="}.items() <= headers.items()
    assert set(names) == set(headers)
    assert {
        "x-mesh-deadline-ms": "900",
        "x-envoy-expected-rq-timeout-ms": "800",
        "x-mesh-priority": "1",
    } == carried
    assert shown == without_claims(SAID)


def test_what_claims_nothing_stays_the_same_object():
    """Metadata without claims is not copied, and details with it neither."""
    said = (("user-agent", "grpc"), ("a", "b"))
    details = Details("/t.Echo/Say", said)
    assert said is read(said).shown
    assert said is without_claims(said)
    assert details is stripped(details)


def test_details_stay_what_they_were():
    """Stripped details are of the same class, and about the same method."""
    assert Details("/t.Echo/Say", without_claims(SAID)) == stripped(Details("/t.Echo/Say", SAID))
    assert Details("/t.Echo/Say", None) == stripped(Details("/t.Echo/Say", None))


@pytest.mark.parametrize("name", ["x-mesh-peer", "x_spiffe_id", "x-mesh-" + "y" * 100])
def test_claims_are_removed_each_time(name):
    """However often a name was seen, and however long it is."""
    assert [(), (), ()] == [read([(name, "1")]).shown for _ in range(3)]


def test_callers_do_not_fill_the_memory():
    """Names that callers make up are forgotten again; many and long ones are not kept at all."""
    shapes = metadata._Shapes()
    for number in range(3 * metadata.REMEMBERED):
        assert shapes[("user-agent", f"name-{number}")].shown is None
        assert shapes["n" * (metadata.LONGEST_NAME + 1 + number % 9), "a"].shown is None
        assert shapes[("n",) * (metadata.MOST_NAMES + 1 + number % 9)].shown is None
    assert 0 < len(shapes) <= metadata.REMEMBERED
    assert all(len(names) <= metadata.MOST_NAMES for names in shapes)
    assert all(len(name) <= metadata.LONGEST_NAME for names in shapes for name in names)


NAMES = st.sampled_from([*(name for name, _ in SAID), "x-mesh-retry-credit", "a", "b-bin"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=3))))
def test_each_name_by_itself(pairs):
    """Whatever comes together, claims are hidden, and what is meant for the mesh is told it."""
    said = tuple((name, value if name.endswith("-bin") else value.hex()) for name, value in pairs)
    shown, headers, carried = read(said)
    kept = [pair for pair in said if not claims_identity(pair[0])]
    assert kept == list(shown) == list(without_claims(said))
    assert {name: as_text(value) for name, value in kept} == headers
    meant = (*CARRIED, priority.HEADER)
    assert {name: value for name, value in said if name in meant} == carried
