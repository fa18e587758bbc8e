"""Chains built to the roots of one trust domain, for handshakes that somebody else did."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.testing.arena import Arena
from meshlib.testing.forge import uris
from meshlib.trust.chain import verify_shown
from meshlib.trust.verify import Untrusted, fellows_of
from meshlib.watch import Watch

NOW = 1_700_000_000.0
ARENA = Arena(NOW)
CREDENTIALS = ARENA.credentials()


def verify(*signers, now=NOW):
    shown = [each.certificate.public_bytes(Encoding.DER) for each in signers]
    watch = Watch(CREDENTIALS, ready=True)
    return verify_shown(shown, CREDENTIALS, fellows_of(watch), now)


def test_the_anchor_is_the_root():
    """The peer is known by its id, and by the root that vouched for it."""
    peer = verify(ARENA.issued())
    assert ARENA.peer == str(peer.spiffe_id)
    assert peer.anchor in ARENA.ours.bundle.roots


def test_the_shortest_part_of_the_chain_counts():
    """A leaf is worth as much as the authority that stands behind it."""
    brief = ARENA.forge.authority(ARENA.ours.root, "brief", until=60.0)
    assert NOW + 60 == verify(ARENA.issued(brief), brief).not_after


@pytest.mark.parametrize(
    ("why", "signers"),
    [
        ("sent no certificate", ()),
        ("vouches", (ARENA.issued(ARENA.stranger.root),)),
        ("vouches", (ARENA.issued(ARENA.federated.root),)),
        ("vouches", (ARENA.issued(ARENA.forge.authority(ARENA.ours.root)),)),
        ("trust domain", (ARENA.issued(names=uris("spiffe://nowhere.org/peer")),)),
        ("weak", (ARENA.issued(key=rsa.generate_private_key(65537, 1024)),)),
        ("weak", (ARENA.issued(key=ec.generate_private_key(ec.SECP192R1())),)),
        ("exactly one", (ARENA.issued(names=uris(ARENA.peer, ARENA.me)),)),
    ],
)
def test_bad(why, signers):
    """What OpenSSL let through with all roots at hand is refused with those of its own domain."""
    with pytest.raises(Untrusted, match=why):
        verify(*signers)


def test_expired():
    """The time is the one that is given."""
    leaf = ARENA.issued(until=60.0)
    assert verify(leaf, now=NOW + 59)
    with pytest.raises(Untrusted, match="not now"):
        verify(leaf, now=NOW + 61)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-521", "Ed25519", "RSA"],
)
def test_keys(key):
    """Keys that OpenSSL puts up with are good."""
    assert ARENA.peer == str(verify(ARENA.issued(key=key)).spiffe_id)


def test_members_of_a_federated_domain():
    """Their own roots vouch for them."""
    names = uris("spiffe://federated.org/friend")
    peer = verify(ARENA.issued(ARENA.federated.root, names=names))
    assert peer.anchor in ARENA.federated.bundle.roots
