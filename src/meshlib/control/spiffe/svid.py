"""
What a Workload API says about identities, judged.  Pure; `source` asks.

A response is taken as a whole or not at all, as the standard asks (Workload API, section 5.2):
half of one would be a leaf without the roots that go with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from meshlib.control.local.certs import chain_pem
from meshlib.control.pemfiles import UNUSABLE, flaw_of_chain, flaw_of_tls, is_authority
from meshlib.control.spiffe.messages import SvidMessage, SvidResponse
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.trust import spiffe
from meshlib.trust.bundle import LeafCert, TrustBundle
from meshlib.trust.verify import check_leaf

_SEQUENCE = 0x30
"""The first byte of a certificate in DER."""


class SvidRefused(IdentityUnavailable):
    """What came cannot be used: not readable, no pair, contradicts itself, over."""


@dataclass(frozen=True, slots=True)
class Identified:
    """One identity of this process."""

    leaf: LeafCert
    own: TrustBundle
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """All of them, and the other trust domains that are trusted."""

    identities: tuple[Identified, ...]
    federated: Mapping[str, TrustBundle]
    refused: tuple[str, ...] = ()
    """What of the federated bundles was left out, and why, in sentences."""


def judge(response: SvidResponse, now: float, only: Collection[str] | None = None) -> Answer:
    """Check everything; `only` names the trust domains to federate with, None: all that come.

    `now` is Unix time.  Raises SvidRefused.
    """
    if not response.svids:
        hint = "is a registration entry of this process there, and has it an X509-SVID?"
        raise SvidRefused("the Workload API gave no identity", why="its answer is empty", hint=hint)
    identities = tuple(_identified(each, now) for each in response.svids)
    federated, refused = _federated(response, {each.own.trust_domain for each in identities}, only)
    return Answer(identities, federated, refused)


def choose(answer: Answer, service: str, *, hint: str = "", wanted: str = "") -> Identified:
    """The identity to speak as `service` with.

    It is the one with the id `wanted`; or, of those with the `hint`, the one whose id names the
    service, and else the first whose id names none.  Raises SvidRefused: an id that names another
    service is never taken.
    """
    hinted = [each for each in answer.identities if hint in {"", each.hint}]
    names = {id(it): spiffe.service_of(spiffe.parse(it.leaf.spiffe_id)) for it in hinted}
    exact = [it for it in answer.identities if it.leaf.spiffe_id == wanted]
    named = [it for it in hinted if names[id(it)] == service]
    unnamed = [it for it in hinted if not names[id(it)]]
    found = exact if wanted else named or unnamed
    if found:
        return found[0]
    given = ", ".join(it.leaf.spiffe_id for it in answer.identities)
    raise SvidRefused(
        f"the Workload API gave no identity for {service}",
        why=f"this process is {given}, not {wanted}" if wanted else f"this process is {given}",
        hint="see its registration entry, and the name, hint and ids given here",
    )


def split_der(data: bytes) -> Iterator[bytes]:
    """Cut certificates that stand one after the other apart.  Raises ValueError."""
    at = 0
    while at < len(data):
        end = at + _length(data[at : at + 6])
        if end > len(data):
            raise ValueError("a certificate is cut short")
        yield data[at:end]
        at = end


def _length(head: bytes) -> int:
    """Of a whole DER value, by its first bytes (X.690, section 8.1.3)."""
    if len(head) < 2 or head[0] != _SEQUENCE:
        raise ValueError("something that is no certificate in DER")
    if head[1] < 0x80:
        return 2 + head[1]
    count = head[1] & 0x7F
    if not 1 <= count <= 4 or len(head) < 2 + count:
        raise ValueError("a certificate with an unusable length")
    return 2 + count + int.from_bytes(head[2 : 2 + count])


def _identified(svid: SvidMessage, now: float) -> Identified:
    try:
        leaf = _leaf(svid, now)
        domain = spiffe.parse(leaf.spiffe_id).trust_domain
        roots = _roots(svid.bundle)
        _check_chain(leaf, roots, now)
        return Identified(leaf, TrustBundle(domain, roots), svid.hint)
    except UNUSABLE as exc:
        why = str(exc).replace("the peer's", "its")
        name = svid.spiffe_id[: spiffe.MAX_BYTES]
        raise SvidRefused(f"the X509-SVID {name!r} cannot be used", why=why) from exc


def _leaf(svid: SvidMessage, now: float) -> LeafCert:
    chain = [x509.load_der_x509_certificate(each) for each in split_der(svid.chain)]
    if not chain:
        raise ValueError("it has no certificate")
    first = chain[0]
    since = first.not_valid_before_utc.timestamp()
    # one that begins in a moment is fine: `now` only says whether its time is over
    peer = check_leaf(first.public_bytes(Encoding.DER), max(now, since))
    if str(peer.spiffe_id) != svid.spiffe_id:
        raise ValueError(f"its certificate is for {peer.spiffe_id}")
    key = load_der_private_key(svid.key, None)
    if _spki(key.public_key()) != _spki(first.public_key()):
        raise ValueError("the private key that came with it belongs to another certificate")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return LeafCert(svid.spiffe_id, chain_pem(*chain), pem, since, peer.not_after)


def _check_chain(leaf: LeafCert, roots: Collection[bytes], now: float) -> None:
    chain = x509.load_pem_x509_certificates(leaf.chain_pem)
    anchors = [x509.load_der_x509_certificate(each) for each in roots]
    flaw = flaw_of_chain(chain, anchors, now) or flaw_of_tls(leaf.chain_pem, leaf.key_pem)
    if flaw:
        raise ValueError(flaw)


def _roots(data: bytes) -> frozenset[bytes]:
    roots = frozenset(split_der(data))
    if not all(is_authority(x509.load_der_x509_certificate(each)) for each in roots):
        raise ValueError("its bundle has a certificate that is none of an authority")
    if not roots:
        raise ValueError("its bundle has no root")
    return roots


def _federated(
    response: SvidResponse, own: Collection[str], only: Collection[str] | None
) -> tuple[dict[str, TrustBundle], tuple[str, ...]]:
    bundles: dict[str, TrustBundle] = {}
    refused: list[str] = []
    for name, data in response.federated.items():
        try:
            domain = _domain(name, own)
            if only is None or domain in only:
                bundles[domain] = TrustBundle(domain, _roots(data))
        except UNUSABLE as exc:  # the others are no worse for it
            refused.append(f"the federated bundle {name!r} is not trusted: {exc}")
    return bundles, tuple(refused)


def _domain(name: str, own: Collection[str]) -> str:
    """Of a key of the map: the SPIFFE id of a trust domain, not of our own."""
    try:
        found = spiffe.parse(name if name.startswith(spiffe.SCHEME) else spiffe.SCHEME + name)
    except ConfigError as exc:
        raise ValueError(exc.why) from exc
    if found.path:
        raise ValueError("it is named after a workload")
    if found.trust_domain in own:
        raise ValueError("it claims the trust domain of this process")
    return found.trust_domain


def _spki(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        raise TypeError("a key that cannot be written down")
    written: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return written
