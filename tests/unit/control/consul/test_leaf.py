"""What an agent says about identities: what is believed, and what is not."""

from __future__ import annotations

import ssl

import pytest

from meshlib.control.consul.faults import ConsulFault
from meshlib.control.consul.leaf import (
    BACKDATED,
    ClockSkew,
    LeafExpired,
    LeafRefused,
    check_alive,
    due,
    early,
    overdue,
    patience,
    read_leaf,
    read_roots,
)
from meshlib.errors import IdentityUnavailable
from meshlib.testing.ca import DAY, ThrowawayCA
from meshlib.trust.bundle import LeafCert

NOW = 1_800_000_000.0
DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
CA = ThrowawayCA(DOMAIN, now=NOW)
OTHER = ThrowawayCA(DOMAIN, now=NOW)


def said(leaf: LeafCert, **more):
    """A leaf as the agent has it."""
    body = {"CertPEM": leaf.chain_pem.decode(), "PrivateKeyPEM": leaf.key_pem.decode()}
    return {**body, "ModifyIndex": 7, **more}


def made(service="web", **more):
    return CA.leaf(uris=(CA.id_of(service),), **more)


def pem_of(ca):
    [root] = ca.bundle.roots
    return ssl.DER_cert_to_PEM_cert(root)


def test_a_leaf():
    """Id, chain, key and dates; the dates are those of the certificate."""
    leaf = made()
    read = read_leaf(said(leaf, ValidBefore="2001-01-01T00:00:00Z"), "web")
    assert (CA.id_of("web"), leaf.key_pem, leaf.chain_pem) == (
        read.spiffe_id,
        read.key_pem,
        read.chain_pem,
    )
    assert (NOW - 300, NOW + DAY) == (read.not_before, read.not_after)


def test_the_chain_is_kept_as_it_came():
    """Secondary datacentres repeat an intermediate, and put a cross-signed root before it."""
    leaf, inter, cross = made(), pem_of(CA), pem_of(OTHER)
    chain = leaf.chain_pem.decode() + cross + inter + inter
    assert chain == read_leaf(said(leaf, CertPEM=chain.rstrip()), "web").chain_pem.decode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "PEM"),
        ("<a href>Moved Permanently</a>", "PEM"),
        ({}, "PEM"),
        (said(made(), CertPEM=None), "PEM"),
        (said(made(), CertPEM="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"), "."),
        (said(made(), PrivateKeyPEM=""), "."),
        (said(made(), PrivateKeyPEM="x"), "."),
        (said(made(), PrivateKeyPEM=made().key_pem.decode()), "belongs to another certificate"),
        (said(made("db")), "it is for spiffe://.*/svc/db"),
        (said(CA.leaf(uris=(CA.id_of("web"), CA.id_of("db")))), "2 URI names"),
        (said(CA.leaf()), "0 URI names"),
        (said(made(ca=True)), "the certificate of a CA"),
    ],
)
def test_what_is_no_leaf_is_refused(body, why):
    """With the service and the reason; the key is in no message."""
    with pytest.raises(LeafRefused, match="the certificate for web") as caught:
        read_leaf(body, "web")
    caught.match(why)
    assert "PRIVATE" not in str(caught.value)


def test_faults_are_of_either_kind():
    """Whoever follows the agent sees a fault of Consul's, whoever wants an identity has none."""
    assert issubclass(LeafRefused, ConsulFault)
    assert issubclass(LeafExpired, IdentityUnavailable)


def test_all_roots_are_trusted():
    """Not only the active one; PEMs without an end to their last line do not run together."""
    roots = [{"RootCert": pem_of(CA).rstrip(), "Active": False}, {"RootCert": pem_of(OTHER)}]
    bundle = read_roots({"TrustDomain": DOMAIN, "Roots": roots})
    assert (DOMAIN, CA.bundle.roots | OTHER.bundle.roots) == (bundle.trust_domain, bundle.roots)


@pytest.mark.parametrize("body", [None, {}, {"Roots": None}, {"Roots": []}, "text"])
def test_a_ca_without_roots_is_waited_for(body):
    """It has not begun."""
    assert read_roots(body) is None


@pytest.mark.parametrize(
    "body",
    [
        {"TrustDomain": "", "Roots": [{"RootCert": pem_of(CA)}]},
        {"Roots": [{"RootCert": pem_of(CA)}]},
        {"TrustDomain": DOMAIN, "Roots": [{"RootCert": "x"}]},
        {"TrustDomain": DOMAIN, "Roots": [{}]},
    ],
)
def test_what_are_no_roots_is_refused(body):
    """Nothing is trusted by half."""
    with pytest.raises(LeafRefused, match="roots"):
        read_roots(body)


def test_a_leaf_has_its_time():
    """Up to its last moment it is good."""
    leaf = made()
    check_alive(leaf, leaf.not_after - 1, new=False)
    with pytest.raises(LeafExpired, match=r"valid until 2027-\d\d-\d\d .* UTC, 5 s before"):
        check_alive(leaf, leaf.not_after + 5, new=False)


def test_a_new_leaf_that_is_over_is_a_matter_of_clocks():
    """Or of a LeafCertTTL that is eaten up by the minute leaves are dated back."""
    with pytest.raises(ClockSkew) as caught:
        check_alive(made(), NOW + 2 * DAY, new=True)
    assert ("NTP" in caught.value.hint, "TTL" in caught.value.hint) == (True, False)
    with pytest.raises(ClockSkew) as caught:
        check_alive(made(since=-BACKDATED, until=1), NOW + 2, new=True)
    assert "LeafCertTTL" in caught.value.hint


def test_a_leaf_of_the_future():
    """The sentence says by how much the clocks differ at least."""
    leaf = made(since=-BACKDATED)
    assert "" == early(leaf, NOW)
    text = early(leaf, NOW - 600)
    assert ("540 s ahead" in text, "600 s behind" in text) == (True, True)


def test_a_leaf_that_is_not_renewed():
    """There are two things to say: that it is late, and that it is too late."""
    leaf = made(since=-BACKDATED, until=DAY)
    ages = NOW, due(leaf), due(leaf) + 1, leaf.not_after, leaf.not_after + 1
    expected = ["", "", "leaf-overdue", "leaf-overdue", "leaf-expired"]
    assert expected == [overdue(leaf, age)[0] for age in ages]
    assert "" == overdue(made(since=-BACKDATED, until=100), NOW + 99)[0]


def test_patience():
    """One waits to the moment that matters, and neither shorter than a second nor for ever."""
    leaf = made(since=0, until=1000)
    assert NOW + 900 == due(leaf)
    assert 55 == patience(leaf, NOW, 55)
    assert 10 == patience(leaf, NOW + 890, 55)
    assert 1 == patience(leaf, NOW + 899.9, 55)
    assert 30 == patience(leaf, NOW + 970, 55)
    assert 5 == patience(leaf, NOW + 1001, 55)
    assert 2 == patience(leaf, NOW + 1001, 2)
