"""
Who may be at the other end: the rules for a peer's certificate, without I/O.

OpenSSL has already checked signatures, dates and purpose of the chain; what it cannot know is
checked here (X509-SVID standard, sections 4 and 5): one URI SAN that is a strict SPIFFE id with a
path, a leaf that can only sign handshakes, and an anchor that belongs to the id's *own* trust
domain, so that a federated domain can vouch for its members and for nobody else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, TypeVar

from cryptography import x509

from meshlib.errors import ConfigError
from meshlib.model import Identity
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials
from meshlib.trust.spiffe import SpiffeId
from meshlib.watch import Watch

Authorizer: TypeAlias = Callable[[SpiffeId], bool]
"""Whether a proven id is one this side wants to talk to."""

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

UNREADABLE = (
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for a certificate that it cannot make sense of."""


class Untrusted(Exception):
    """The peer's certificate breaks a rule; the message says what was found and expected."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody whose certificate passed every rule."""

    spiffe_id: SpiffeId
    der: bytes = field(repr=False)
    """The leaf certificate."""
    not_after: float
    """Unix time, seconds, at which the first certificate of its chain ends."""
    anchor: bytes = field(default=b"", repr=False)
    """The root, DER, that vouched for it in this handshake."""
    foreign: bool = False
    """Whether it is of another trust domain: its service is none of ours, whatever its name."""

    @property
    def identity(self) -> Identity:
        """What the application sees."""
        service = "" if self.foreign else spiffe.service_of(self.spiffe_id)
        return Identity(str(self.spiffe_id), service)

    def still_trusted(self, credentials: Credentials, now_unix: float) -> bool:
        """Whether a handshake now could still succeed.

        Asked on every request: a live connection outlasts its certificate, and the removal of the
        root that vouched for it.
        """
        bundle = credentials.bundles.get(self.spiffe_id.trust_domain)
        return now_unix <= self.not_after and bundle is not None and self.anchor in bundle.roots


def allow_ids(*ids: SpiffeId | str) -> Authorizer:
    """Authorize exactly these.  Raises ConfigError for an id that does not parse."""
    allowed = frozenset(spiffe.parse(str(each)) for each in ids)
    return allowed.__contains__


def member_of(trust_domain: str) -> Authorizer:
    """Authorize everybody of one trust domain.  Raises ConfigError for a bad domain."""
    SpiffeId(trust_domain)
    return lambda spiffe_id: spiffe_id.trust_domain == trust_domain


def fellows_of(credentials: Watch[Credentials]) -> Authorizer:
    """Authorize everybody of the trust domains that are trusted at the time.

    These are one's own and those it is federated with; intentions know members of the latter as
    strangers.
    """
    return lambda spiffe_id: spiffe_id.trust_domain in credentials.value.bundles


def verify_peer(
    der: bytes | None,
    chain: Sequence[bytes],
    credentials: Credentials,
    authorize: Authorizer,
    now_unix: float,
    known_until: float = math.inf,
) -> Peer:
    """Apply every rule; `chain` is what OpenSSL verified, leaf first, empty if it verified none.

    `known_until` is its end, where that is known to be earlier than what `chain` shows of it.
    Raises Untrusted.
    """
    if not der:
        raise Untrusted("the peer sent no certificate, expected one with a SPIFFE id")
    peer = check_leaf(der, now_unix)
    anchor = _own_anchor(peer, chain, credentials)
    if not authorize(peer.spiffe_id):
        raise Untrusted(f"the peer is {peer.spiffe_id}, which is not who is expected here")
    until = min(known_until, peer.not_after, *map(_end_of, chain))
    if now_unix > until:
        raise Untrusted(f"a certificate of the peer's chain ended {now_unix - until:.0f} s ago")
    ours = credentials.leaf.spiffe_id.startswith(f"{spiffe.SCHEME}{peer.spiffe_id.trust_domain}/")
    return Peer(peer.spiffe_id, peer.der, until, anchor, foreign=not ours)


def check_leaf(der: bytes, now_unix: float) -> Peer:
    """Apply the rules that concern the leaf alone; the result has no anchor.  Raises Untrusted."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
    except UNREADABLE as exc:
        raise Untrusted(f"the peer's certificate cannot be read: {exc}") from exc
    _check_dates(certificate, now_unix)
    spiffe_id = _only_id(extensions)
    _check_usage(extensions)
    return Peer(spiffe_id, der, certificate.not_valid_after_utc.timestamp())


@lru_cache(maxsize=256)
def _end_of(der: bytes) -> float:
    """Of a certificate that OpenSSL has verified: nobody fills the cache with what he likes."""
    return x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp()


def _own_anchor(peer: Peer, chain: Sequence[bytes], credentials: Credentials) -> bytes:
    domain = peer.spiffe_id.trust_domain
    bundle = credentials.bundles.get(domain)
    if bundle is None:
        known = ", ".join(sorted(credentials.bundles)) or "none"
        raise Untrusted(
            f"the peer {peer.spiffe_id} is of trust domain {domain!r}, expected one of: {known}"
        )
    if not chain:
        raise Untrusted(f"the peer {peer.spiffe_id} resumed a session, expected a full handshake")
    if chain[-1] not in bundle.roots:
        raise Untrusted(
            f"the peer {peer.spiffe_id} is vouched for by a root that is not of {domain!r}"
        )
    return chain[-1]


def _check_dates(certificate: x509.Certificate, now_unix: float) -> None:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now_unix < since.timestamp():
        ahead = f"{since.timestamp() - now_unix:.0f} s ahead of the clock here"
        raise Untrusted(f"the peer's certificate is valid from {since}, which is {ahead}")
    if now_unix > until.timestamp():
        raise Untrusted(
            f"the peer's certificate is valid from {since} to {until}, which is not now"
        )


def _only_id(extensions: x509.Extensions) -> SpiffeId:
    names = _find(extensions, x509.SubjectAlternativeName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if len(uris) != 1:
        raise Untrusted(
            f"the peer's certificate has {len(uris)} URI names {uris}, expected exactly one"
        )
    try:
        spiffe_id = spiffe.parse(uris[0])
    except ConfigError as exc:
        raise Untrusted(f"the peer's certificate names {uris[0]!r}, {exc.why}") from exc
    if not spiffe_id.path:
        raise Untrusted(
            f"the peer's certificate names {spiffe_id}, expected a workload: an id with a path"
        )
    return spiffe_id


def _check_usage(extensions: x509.Extensions) -> None:
    constraints = _find(extensions, x509.BasicConstraints)
    if constraints and constraints.ca:
        raise Untrusted("the peer shows the certificate of a CA, expected a leaf")
    usage = _find(extensions, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        found = f"key usage {usage}" if usage else "no key usage"
        raise Untrusted(
            f"the peer's leaf has {found}, expected digitalSignature, no certSign or crlSign"
        )


def _find(extensions: x509.Extensions, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
