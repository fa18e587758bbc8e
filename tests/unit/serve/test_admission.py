from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.serve.admission import Admission, Connection, Head, claims_identity, flaw_of

GOOD = Head("1.1", "/items", 1, 1, 0)


@pytest.fixture
def admission(options) -> Admission:
    return Admission(options.credentials, options.unix)


def test_a_good_request_of_a_trusted_peer_is_admitted(admission, connection) -> None:
    """Nothing stands in the way of an ordinary request."""
    assert admission.refusal(GOOD, connection) is None


def test_the_edge_needs_no_peer(admission) -> None:
    """What came in by the edge listener has no identity to prove."""
    assert admission.refusal(GOOD, Connection(None, edge=True)) is None


@pytest.mark.parametrize("connection", [None, Connection(None)], ids=["foreign", "no peer"])
def test_without_a_peer_it_is_misdirected(admission, connection) -> None:
    """A server without mesh TLS gets 421 for every request."""
    refusal = admission.refusal(GOOD, connection)
    assert 421 == refusal.status
    assert "\n" not in refusal.reason


def test_a_peer_that_lost_its_trust_is_misdirected(admission, connection, peer) -> None:
    """The question is asked anew for every request of a connection."""
    peer.trusted = False
    assert 421 == admission.refusal(GOOD, connection).status


def test_a_flawed_head_is_refused_before_trust_is_asked(admission) -> None:
    """What cannot be understood in one way only is 400, whoever sent it."""
    assert 400 == admission.refusal(GOOD._replace(hosts=2), None).status


@pytest.mark.parametrize(
    ("change", "flawed"),
    [
        ({"lengths": 1, "encodings": 1}, True),
        ({"lengths": 2}, True),
        ({"lengths": 0, "encodings": 2}, True),
        ({"lengths": 0, "encodings": 1}, False),
        ({"hosts": 0}, True),
        ({"hosts": 2}, True),
        ({"hosts": 0, "version": "1.0"}, False),
        ({"hosts": 2, "version": "1.0"}, True),
        ({"hosts": 0, "version": "2"}, False),
        ({"target": "*"}, True),
        ({"target": "http://evil/a"}, True),
        ({"target": "evil:80"}, True),
        ({"target": ""}, True),
        ({"target": "//a"}, False),
    ],
)
def test_flaws(change, flawed) -> None:
    """Exactly the heads that parsers disagree on are flawed."""
    assert flawed is bool(flaw_of(GOOD._replace(**change)))


CLAIMS = st.sampled_from(["x-forwarded-client-cert", "x-spiffe-id", "x-mesh-peer", "x-mesh-"])


@given(CLAIMS, st.data())
def test_every_spelling_of_a_claim_is_one(claim, data) -> None:
    """Case does not matter, and `_` is `-`."""
    spelt = "".join(
        data.draw(st.sampled_from("-_" if char == "-" else [char, char.upper()])) for char in claim
    )
    assert claims_identity(spelt)


@pytest.mark.parametrize(
    "name",
    [
        "x-request-id",
        "x-meshed",
        "x-forwarded-client-certs",
        "x-forwarded-for",
        "ax-mesh-a",
        "host",
    ],
)
def test_other_headers_are_no_claims(name) -> None:
    """Only names that say who is calling are claims."""
    assert not claims_identity(name)
