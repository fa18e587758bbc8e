"""
What Consul's agent says about identities, read and judged.  Pure; `identity` asks.

    LeafFault (ConsulFault, IdentityUnavailable)
      LeafRefused    what came cannot be used: no pair, of somebody else, not readable
      LeafExpired    its time is over, and Consul has not renewed it
      ClockSkew      its time is over although it is new: the clocks differ
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from meshlib.control.consul.faults import ConsulFault
from meshlib.errors import IdentityUnavailable
from meshlib.trust import spiffe
from meshlib.trust.bundle import LeafCert, TrustBundle
from meshlib.trust.verify import Untrusted, check_leaf

OVERDUE = 0.9
"""Share of a leaf's life by which the agent has renewed it: it does so between 60 and 90 %."""
BACKDATED = 60.0
"""Seconds: Consul dates the beginning of a leaf back by a minute, to allow for clocks."""
EXPIRED = "leaf-expired"
"""The kind of event that says so."""
LEAST_LIFE = 3600.0
"""Seconds: Consul's own least LeafCertTTL."""


class LeafFault(ConsulFault, IdentityUnavailable):
    """There is an answer, but no certificate that could be used."""


class LeafRefused(LeafFault):
    """What came is no certificate for this service, with its key."""


class LeafExpired(LeafFault):
    """It is over, and Consul has not renewed it."""


class ClockSkew(LeafFault):
    """It was made just now, and is over by the clock here."""


def read_roots(body: Any) -> TrustBundle | None:
    """All roots, whether active or on their way out; None while Consul has no CA yet.

    Raises LeafRefused.
    """
    if not isinstance(body, Mapping) or not body.get("Roots"):
        return None
    pem = b"".join(_lines(each.get("RootCert")) for each in body["Roots"])
    try:
        roots = x509.load_pem_x509_certificates(pem)
        domain = spiffe.SpiffeId(str(body.get("TrustDomain"))).trust_domain
    except ValueError as exc:  # ConfigError is one
        raise LeafRefused("the roots of Consul's CA cannot be read", why=str(exc)) from exc
    return TrustBundle(domain, frozenset(each.public_bytes(Encoding.DER) for each in roots))


def read_leaf(body: Any, service: str) -> LeafCert:
    """The certificate and key in an answer of `ca/leaf`; its dates are not judged.

    The chain is kept as it came: secondaries repeat an intermediate, and after a rotation put the
    cross-signed root in front of it.  Raises LeafRefused.
    """
    said = body if isinstance(body, Mapping) else {}
    chain, key = _lines(said.get("CertPEM")), _lines(said.get("PrivateKeyPEM"))
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
        since = certificate.not_valid_before_utc.timestamp()
        peer = check_leaf(certificate.public_bytes(Encoding.DER), since)
        pair = _spki(certificate) == _spki_of_key(key)
    except (ValueError, TypeError, Untrusted) as exc:
        why = str(exc).replace("the peer's", "its")
        raise LeafRefused(f"the certificate for {service} cannot be used", why=why) from exc
    if not pair:
        why = "the private key that came with it belongs to another certificate"
        raise LeafRefused(f"the certificate for {service} cannot be used", why=why)
    if spiffe.service_of(peer.spiffe_id) != service:
        why = f"it is for {peer.spiffe_id}"
        raise LeafRefused(f"the certificate for {service} cannot be used", why=why)
    return LeafCert(str(peer.spiffe_id), chain, key, since, peer.not_after)


def check_alive(leaf: LeafCert, now: float, *, new: bool) -> None:
    """Raise LeafExpired or, if it is `new`, ClockSkew when its time is over; `now` is Unix time."""
    over = now - leaf.not_after
    if over < 0:
        return
    until = _moment(leaf.not_after)
    why = f"it was valid until {until}, {over:.0f} s before the clock here"
    if not new:
        hint = "the agent renews it for whoever waits for it: see the agent's log, and its servers"
        raise LeafExpired(f"the certificate {leaf.spiffe_id} has expired", why=why, hint=hint)
    hint = "compare the clock here with those of Consul's servers (NTP)"
    if leaf.not_after - leaf.not_before - BACKDATED < LEAST_LIFE:
        hint += "; is LeafCertTTL, in the CA's settings, less than a minute or two?"
    raise ClockSkew(f"a new certificate {leaf.spiffe_id} has expired already", why=why, hint=hint)


def early(leaf: LeafCert, now: float) -> str:
    """If it is not valid yet, a sentence about the clocks; empty otherwise."""
    ahead = leaf.not_before - now
    if ahead <= 0:
        return ""
    return (
        f"the certificate {leaf.spiffe_id} is valid from {_moment(leaf.not_before)}, {ahead:.0f} s"
        f" ahead of the clock here, which is at least {ahead + BACKDATED:.0f} s behind Consul's:"
        " set it (NTP), or new certificates of others are refused here"
    )


def overdue(leaf: LeafCert, now: float) -> tuple[str, str]:
    """What there is to say of a leaf that was not renewed: kind and text of an event, or nothing.

    Leaves that live for less than Consul's least are never renewed early enough.
    """
    if now > leaf.not_after:
        return EXPIRED, f"{leaf.spiffe_id} has expired, so that nobody talks to it"
    if now > due(leaf) and leaf.not_after - leaf.not_before - BACKDATED >= LEAST_LIFE:
        until = _moment(leaf.not_after)
        return "leaf-overdue", f"{leaf.spiffe_id} should have been renewed, it ends {until}"
    return "", ""


def due(leaf: LeafCert) -> float:
    """When the agent must have renewed it at the latest, Unix time."""
    return leaf.not_before + OVERDUE * (leaf.not_after - leaf.not_before)


def patience(leaf: LeafCert, now: float, most: float) -> float:
    """Seconds to wait for the next one before looking at the clock again."""
    if now >= leaf.not_after:
        return min(most, 5.0)
    moment = due(leaf) if now < due(leaf) else leaf.not_after
    return min(most, max(1.0, moment - now))


def _lines(pem: object) -> bytes:
    """With an end to its last line, so that PEMs can be joined: Consul 1.8 leaves it out."""
    text = pem.strip() if isinstance(pem, str) else ""
    return f"{text}\n".encode()


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki_of_key(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _moment(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S} UTC"
