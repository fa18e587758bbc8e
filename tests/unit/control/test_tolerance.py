from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.decoding import read
from meshlib.control.documents import ServiceSplitter
from meshlib.control.resolver import ServiceResolver
from meshlib.control.router import ServiceRouter
from meshlib.control.tolerance import tolerated
from meshlib.errors import ConfigError


def test_unknown_fields_are_left_out_and_named():
    """Wherever they stand."""
    body = {
        "Name": "web",
        "Subsets": {"v1": {"Filter": "Service.Port == 1", "Locality": "a"}},
        "Failover": {"*": {"Service": "b", "SamenessGroup": "g"}},
        "PrioritizeByLocality": {"Mode": "failover"},
    }
    kept, ignored = tolerated(ServiceResolver, body)
    assert ("PrioritizeByLocality", "Subsets.v1.Locality", "Failover.*.SamenessGroup") == ignored
    assert {"v1": {"Filter": "Service.Port == 1"}} == kept["Subsets"]
    read(ServiceResolver, kept, path="service-resolver/web")


def test_lists_are_walked():
    """A path has the position."""
    body = {"Splits": [{"Weight": 100}, {"Weight": 0, "Peer": "far"}]}
    kept, ignored = tolerated(ServiceSplitter, body)
    assert ("Splits[1].Peer",) == ignored
    assert [{"Weight": 100}, {"Weight": 0}] == kept["Splits"]


def test_what_says_nothing_is_not_mentioned():
    """Empty, false, zero, null; and what is named as silent."""
    body = {"A": {}, "B": [], "C": "", "D": 0, "E": False, "F": None, "CreateIndex": 7}
    assert ({}, ()) == tolerated(ServiceResolver, body, silent={"CreateIndex"})
    assert ({}, ("CreateIndex",)) == tolerated(ServiceResolver, body)


def test_nulls_go():
    """Go writes them for what is empty, our reader knows none."""
    body = {"Subsets": None, "Redirect": None, "ConnectTimeout": None, "Meta": {"a": None}}
    kept, ignored = tolerated(ServiceResolver, body)
    assert ({"Meta": {}}, ()) == (kept, ignored)


def test_nanoseconds_become_durations():
    """Both encodings of Consul mean the same."""
    body = {"ConnectTimeout": 1500000000, "RequestTimeout": "2s"}
    kept, _ = tolerated(ServiceResolver, body)
    assert {"ConnectTimeout": "1.5s", "RequestTimeout": "2s"} == kept


@pytest.mark.parametrize("value", [True, 10**30, -1])
def test_a_number_that_is_no_duration_is_refused(value):
    """By the reader, not here."""
    kept, _ = tolerated(ServiceResolver, {"ConnectTimeout": value})
    with pytest.raises(ConfigError):
        read(ServiceResolver, kept, path="x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Routes", "Match", "HTTP", "Header", "x"]), inner)
    ),
    max_leaves=15,
)


@given(JSON)
def test_nothing_breaks_it(body):
    """Shapes of no sense are left for the strict reader to say so."""
    tolerated(ServiceRouter, body)
