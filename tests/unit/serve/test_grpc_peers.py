"""Who is at the other end of a gRPC connection, as grpcio tells of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.control.local import certs
from meshlib.serve.grpc.peers import REMEMBERED, Peers
from meshlib.testing.arena import Arena
from meshlib.trust.bundle import TrustBundle
from meshlib.trust.verify import fellows_of
from meshlib.watch import Watch

ARENA = Arena(1_700_000_000.0)


@pytest.fixture
def credentials():
    return Watch(ARENA.credentials(), ready=True)


@pytest.fixture
def peers(credentials):
    return Peers(credentials, fellows_of(credentials), lambda: ARENA.now)


def told(leaf, *others):
    """As `auth_context` has it: no chain where there was only a leaf."""
    pem = certs.chain_pem(leaf.certificate)
    said = {"transport_security_type": [b"ssl"], "x509_pem_cert": [pem]}
    if others:
        chain = certs.chain_pem(leaf.certificate, *(each.certificate for each in others))
        said["x509_pem_cert_chain"] = [chain]
    return said


def test_a_peer(peers):
    """It is who its certificate says."""
    assert "peer" == peers.connection(told(ARENA.issued())).identity.service


def test_remembered(peers):
    """The same certificate is checked once."""
    said = told(ARENA.issued())
    assert peers.connection(said) is peers.connection(said)


def test_forgotten(peers):
    """There is room for so many, and a new one is checked all the same."""
    leaf = ARENA.issued()
    for number in range(REMEMBERED):
        peers._remembered(ARENA.credentials())[b"%d" % number, b""] = None
    assert "peer" == peers.connection(told(leaf)).identity.service


def test_what_grpcio_says_of_itself_is_not_read(peers):
    """Its own word for the peer is not believed, with or without a certificate."""
    claim = {"peer_spiffe_id": [ARENA.me.encode()]}
    assert "peer" == peers.connection({**told(ARENA.issued()), **claim}).identity.service
    assert peers.connection({"transport_security_type": [b"ssl"], **claim}).peer is None


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"transport_security_type": [b"insecure"]},
        {"transport_security_type": [b"ssl"]},
        {"transport_security_type": [b"local"]},
        {"transport_security_type": [b"insecure", b"ssl"]},
        {"transport_security_type": [b"ssl"], "x509_pem_cert": [b"nonsense"]},
    ],
)
def test_nobody(peers, said):
    """Without a certificate it is nobody, and not even a guest of the edge where there is none."""
    connection = peers.connection(said)
    assert (None, False) == (connection.peer, connection.edge)


def test_the_edge(credentials):
    """Where there is an edge, it is where there is no TLS, and nothing else is."""
    peers = Peers(credentials, fellows_of(credentials), lambda: ARENA.now, edge=True)
    assert peers.connection({"transport_security_type": [b"insecure"]}).edge
    assert not peers.connection({"transport_security_type": [b"ssl"]}).edge
    assert not peers.connection({}).edge


def test_another_root_vouches_after_a_rotation(peers, credentials):
    """A chain that leads to two roots is good as long as one of them is trusted."""
    new, old = ARENA.retired.root, ARENA.ours.root
    said = told(ARENA.issued(new), ARENA.forge.crossed(new, old))
    before = peers.connection(said).peer.anchor
    bundles = {"example.org": TrustBundle("example.org", ARENA.retired.bundle.roots)}
    credentials.set(replace(credentials.value, bundles=bundles, generation=2))
    after = peers.connection(said).peer
    assert before in ARENA.ours.bundle.roots
    assert after.still_trusted(credentials.value, ARENA.now)
