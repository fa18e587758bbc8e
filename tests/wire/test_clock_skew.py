"""Clocks that do not agree about what time it is."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.adapters.wire import not_connected
from meshlib.control.local.ca import LocalCA
from meshlib.control.local.rotation import BACKDATE
from meshlib.errors import PeerNotTrusted
from meshlib.model import Attempt, Call, Endpoint
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials
from meshlib.trust.tls import MeshContext, member_of, peer_of
from meshlib.trust.verify import Untrusted, check_leaf
from meshlib.watch import Watch

DOMAIN = "example.org"


@pytest.fixture
def issue(tmp_path):
    """Issue a leaf by a CA whose clock is so many seconds ahead of everybody else's."""
    ahead = [0.0]
    ca = LocalCA(tmp_path / "ca", DOMAIN, now=lambda: time.time() + ahead[0])

    def make(service, seconds=0.0):
        ahead[0] = seconds
        leaf = ca.issue(spiffe.service_id(DOMAIN, service))
        return Credentials(leaf, {DOMAIN: ca.bundle()}, 1)

    return make


def context(credentials, *, server_side):
    """One side, with the clock of this machine."""
    return MeshContext(
        Watch(credentials, ready=True),
        server_side=server_side,
        authorize=member_of(DOMAIN),
        clock=time.time,
    )


def handshake(client, server):
    """The peer that the client verified; its error otherwise."""
    near, far = socket.socketpair()
    near.settimeout(20)
    far.settimeout(20)

    def serve():
        try:
            context(server, server_side=True).wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()

    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        try:
            with context(client, server_side=False).wrap_socket(near) as tls:
                return peer_of(tls)
        finally:
            near.close()
            served.result()


def test_clock_skew(issue):
    """Known hard bug: a leaf of a CA whose clock is four minutes ahead is good at once.

    Fails when the life of a leaf begins when it is made (hand mutation of `LocalCA._life`).
    """
    peer = handshake(issue("web"), issue("db", 240.0))
    assert f"spiffe://{DOMAIN}" in str(peer.spiffe_id)


def test_a_clock_that_is_further_ahead_is_named(issue):
    """The error of the call says that it is the clock, and what time it is here."""
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        handshake(issue("web"), issue("db", 2 * BACKDATE))
    attempt = Attempt(Call("db"), endpoint=Endpoint("db-1", "127.0.0.1", 1))
    error = not_connected(attempt, refused.value)
    assert isinstance(error, PeerNotTrusted)
    assert "not yet valid" in error.why
    assert "clock skew: here it is 20" in error.hint


def test_how_far_ahead_is_said_where_it_is_known(issue):
    """Of a leaf that can be read, by the seconds."""
    made = issue("db")
    der = x509.load_pem_x509_certificates(made.leaf.chain_pem)[0].public_bytes(Encoding.DER)
    with pytest.raises(Untrusted, match="which is 60 s ahead of the clock here"):
        check_leaf(der, made.leaf.not_before - 60)
