"""
A certificate, its key and the roots beside it, as others put them into a folder.

What is read may be half written, or of two generations: only what fits together is used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from meshlib.errors import IdentityUnavailable
from meshlib.trust import spiffe
from meshlib.trust.bundle import LeafCert, TrustBundle
from meshlib.trust.pemfile import secret_path
from meshlib.trust.verify import UNREADABLE, Untrusted, check_leaf

NAMES = (
    ("tls.crt", "tls.key", "ca.crt"),
    ("svid.pem", "svid_key.pem", "svid_bundle.pem"),
    ("svid.0.pem", "svid.0.key", "bundle.0.pem"),
)
"""Of certificate, key and roots: cert-manager and Kubernetes' TLS secrets, spiffe-helper, and
`spire-agent api fetch -write`."""
UNUSABLE = (*UNREADABLE, TypeError, UnsupportedAlgorithm, Untrusted)
"""What is raised for a certificate or a key that cannot be used."""
_KINDS = (
    ec.EllipticCurvePrivateKey,
    ed448.Ed448PrivateKey,
    ed25519.Ed25519PrivateKey,
    rsa.RSAPrivateKey,
)
_BEGIN = b"-----BEGIN CERTIFICATE-----"
LARGEST = 1 << 20
"""Bytes of one file; a bundle of fifty roots has a tenth of it."""


@dataclass(frozen=True, slots=True)
class Pems:
    """What stands in the three files."""

    certificate: bytes
    key: bytes
    roots: bytes

    def __repr__(self) -> str:
        return f"<Pems of {len(self.certificate)} bytes>"


def read_pems(folder: Path) -> Pems:
    """The three files of a folder, all of one generation where the folder has generations.

    Raises IdentityUnavailable.
    """
    try:
        # kubelet swaps the link ..data, and the names in the folder lead through it: looked up once
        data = folder / "..data"
        place = data.resolve(strict=True) if data.is_symlink() else folder
        for names in NAMES:
            if (place / names[0]).exists():
                return Pems(*(read_pem(place / name) for name in names))
    except OSError as exc:
        raise IdentityUnavailable(f"{folder} cannot be read", why=str(exc)) from exc
    wanted = " or ".join(", ".join(names) for names in NAMES)
    raise IdentityUnavailable(f"{folder} holds no certificate", hint=f"what is read: {wanted}")


def judged(pems: Pems, service: str, now: float) -> tuple[LeafCert, TrustBundle]:
    """The leaf of `service` and its roots, if they fit together and hold at `now`, Unix time.

    Raises IdentityUnavailable, which says why they cannot be used.
    """
    what = f"the certificate for {service} cannot be used"
    try:
        chain = read_certificates(pems.certificate)
        roots = read_certificates(pems.roots)
        peer = check_leaf(chain[0].public_bytes(Encoding.DER), now)
        pair = _of_key(pems.key) == _public(chain[0].public_key())
    except UNUSABLE as exc:
        why = str(exc).replace("the peer's", "its").replace("the peer", "it")
        raise IdentityUnavailable(what, why=why) from exc
    flaw = "" if pair else "the private key beside it belongs to another certificate"
    if not flaw and spiffe.service_of(peer.spiffe_id) != service:
        ours = f"/ns/NAMESPACE/dc/DATACENTRE/svc/{service}"
        flaw = f"it is for {peer.spiffe_id}, expected an id with the path {ours}"
    anchors = [each for each in roots if _self_issued(each)]
    flaw = flaw or flaw_of_chain(chain, anchors, now) or flaw_of_tls(pems.certificate, pems.key)
    if flaw:
        raise IdentityUnavailable(what, why=flaw)
    since = chain[0].not_valid_before_utc.timestamp()
    until = min(each.not_valid_after_utc.timestamp() for each in chain)
    leaf = LeafCert(str(peer.spiffe_id), pems.certificate, pems.key, since, until)
    known = frozenset(each.public_bytes(Encoding.DER) for each in anchors)
    return leaf, TrustBundle(peer.spiffe_id.trust_domain, known)


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """All certificates in a text.  Raises ValueError if there is none, or one that is cut short."""
    found = x509.load_pem_x509_certificates(pem)
    if pem.count(_BEGIN) != len(found):  # the parser passes over a last one without an end
        raise ValueError("a certificate in it is cut short")
    return found


def flaw_of_chain(
    chain: Sequence[x509.Certificate], anchors: Collection[x509.Certificate], now: float
) -> str:
    """Why a chain, leaf first, does not lead to one of the anchors, or "".

    It is for an identity that was just handed out: what peers would refuse is not begun with.
    """
    for each in chain[1:]:
        since, until = each.not_valid_before_utc, each.not_valid_after_utc
        if not since.timestamp() <= now <= until.timestamp():
            return f"an intermediate of its chain is valid from {since} to {until}"
    if not all(_issued(child, by=parent) for child, parent in pairwise(chain)):
        return "its chain is not in order: leaf first, and each signed by the next"
    # not only the last: beneath a new root a chain may go on, for those who know the old one
    if not any(_issued(each, by=anchor) for each in chain for anchor in anchors):
        return f"it leads to none of the {len(anchors)} roots beside it"
    return ""


def flaw_of_tls(chain_pem: bytes, key_pem: bytes) -> str:
    """Why OpenSSL would not show this certificate, such as a key that is too short, or ""."""
    if not isinstance(load_pem_private_key(key_pem, None), _KINDS):
        return "its key is of a kind that TLS 1.3 does not know"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with secret_path(key_pem + chain_pem) as path:
            context.load_cert_chain(path)
    except ssl.SSLError as exc:
        return f"OpenSSL does not take it: {exc.reason or exc}"
    return ""


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others.  Raises what is in `UNREADABLE`."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def _issued(child: x509.Certificate, *, by: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return is_authority(by)


def _self_issued(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def read_pem(path: Path) -> bytes:
    """The bytes of a file that is not larger than one of certificates can be.  Raises OSError."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(f"{path} is larger than {LARGEST} bytes")
    return data


def _of_key(pem: bytes) -> bytes:
    return _public(load_pem_private_key(pem, None).public_key())


def _public(key: object) -> bytes:
    encode: Callable[[Encoding, PublicFormat], bytes] | None = getattr(key, "public_bytes", None)
    if encode is None:
        raise ValueError("its key is of a kind that is not used here")
    return encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
