"""
The chain of a peer whose handshake was done by a library that keeps its own verdict to itself.

grpcio's C core has OpenSSL check signatures, dates and purpose against *all* roots, and tells the
certificates it was shown; which root vouched for them it does not tell.  So the chain is built once
more, to the roots of one trust domain alone, by cryptography's verifier (RFC 5280).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from meshlib.trust.bundle import Credentials
from meshlib.trust.verify import UNREADABLE, Authorizer, Peer, Untrusted, check_leaf, verify_peer

SHORTEST_RSA = 2048
SHORTEST_CURVE = 224
"""Bits that stand for 112 of security: OpenSSL's level 2, which is Python's."""


def verify_shown(
    shown: Sequence[bytes], credentials: Credentials, authorize: Authorizer, now_unix: float
) -> Peer:
    """Apply every rule to what a peer showed: DER, leaf first, then what it sent along.

    Raises Untrusted.
    """
    if not shown:
        return verify_peer(None, (), credentials, authorize, now_unix)
    leaf, *others = shown
    domain = check_leaf(leaf, now_unix).spiffe_id.trust_domain
    bundle = credentials.bundles.get(domain)
    _check_key(leaf)
    chain = chain_to(bundle.roots, leaf, others, now_unix) if bundle else ()
    return verify_peer(leaf, chain, credentials, authorize, now_unix)


def chain_to(
    roots: Iterable[bytes], leaf: bytes, others: Iterable[bytes], now_unix: float
) -> list[bytes]:
    """DER, from the leaf to one of the roots, by way of some of the others.  Raises Untrusted."""
    try:
        # its rules for leaves are those of the web; ours are in `trust.verify`
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store([_read(root) for root in roots]))
            .time(datetime.fromtimestamp(now_unix, UTC))
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            .build_client_verifier()
        )
        verified = verifier.verify(_read(leaf), [_read(other) for other in others])
    except (verification.VerificationError, *UNREADABLE) as exc:
        raise Untrusted(f"no root of its own trust domain vouches for the peer: {exc}") from exc
    return [each.public_bytes(Encoding.DER) for each in verified.chain]


def _check_key(leaf: bytes) -> None:
    """Raise Untrusted for a key that is easier to guess than OpenSSL puts up with."""
    try:
        key = _read(leaf).public_key()
    except (UnsupportedAlgorithm, *UNREADABLE) as exc:
        raise Untrusted(f"the peer's key cannot be read: {exc}") from exc
    if isinstance(key, rsa.RSAPublicKey):
        strong = key.key_size >= SHORTEST_RSA
    elif isinstance(key, ec.EllipticCurvePublicKey):
        strong = key.key_size >= SHORTEST_CURVE
    else:
        strong = isinstance(key, ed25519.Ed25519PublicKey)
    if not strong:
        raise Untrusted(f"the peer's key is too weak: {key}")


def _read(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)
