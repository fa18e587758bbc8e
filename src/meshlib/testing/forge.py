"""Certificates with any property, right or wrong: what a careful peer has to tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshlib.control.local import certs
from meshlib.control.local.certs import Signer
from meshlib.trust.bundle import LeafCert

HOUR = 3600.0
LEAF_USAGE = certs.key_usage(digital_signature=True)
CA_USAGE = certs.key_usage(key_cert_sign=True, crl_sign=True)
_SAN_OID = x509.SubjectAlternativeName.oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a certificate is to say; the defaults are those of a good leaf without a name."""

    names: Sequence[x509.GeneralName] = ()
    raw_names: bytes | None = None
    """A whole SubjectAltName in DER instead, for what no library would encode."""
    subject: str = ""
    """A common name."""
    since: float = -300.0
    """Seconds from now."""
    until: float = HOUR
    ca: bool | None = False
    """None leaves the basic constraints out."""
    path_length: int | None = None
    usage: x509.KeyUsage | None = LEAF_USAGE
    """None leaves it out."""
    purposes: Sequence[x509.ObjectIdentifier] = certs.BOTH_SIDES
    """Extended key usage; none leaves it out."""
    extra: Sequence[tuple[x509.ExtensionType, bool]] = ()
    """More extensions, and whether they are critical."""


class Forge:
    """Signs whatever is wished for, around `now` (Unix time, seconds)."""

    def __init__(self, now: float) -> None:
        self.now = now

    def certificate(self, issuer: Signer | None, wish: Wish, key: Any = None) -> Signer:
        """A certificate by `issuer`, or by itself; `key` is a fresh P-256 one if not given."""
        key = key or certs.new_key()
        signer = issuer.key if issuer else key
        builder = self._begin(issuer, wish, key)
        for extension, critical in _extensions(wish):
            builder = builder.add_extension(extension, critical=critical)
        return Signer(builder.sign(signer, hashes.SHA256()), key)

    def authority(self, issuer: Signer, name: str = "issuing", **wish: Any) -> Signer:
        """An intermediate CA, good unless `wish` says otherwise."""
        good: dict[str, Any] = {"ca": True, "usage": CA_USAGE, "purposes": (), "subject": name}
        return self.certificate(issuer, Wish(**{**good, **wish}))

    def crossed(self, root: Signer, issuer: Signer) -> Signer:
        """The name and key of a root, vouched for by another one."""
        life = certs.Life(self.now - HOUR, self.now + HOUR)
        name = root.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return Signer(
            certs.ca_certificate(str(name), root.key, life, issuer, path_length=1), root.key
        )

    def shown(self, leaf: Signer, *intermediates: Signer, key: bytes = b"") -> LeafCert:
        """What a peer has in its hands: a leaf, its key, and the chain it sends along."""
        chain = certs.chain_pem(leaf.certificate, *(each.certificate for each in intermediates))
        pem = key or certs.key_pem(leaf.key)
        return LeafCert("", chain, pem, self.now - HOUR, self.now + HOUR)

    def _begin(self, issuer: Signer | None, wish: Wish, key: Any) -> x509.CertificateBuilder:
        subject = common_name(wish.subject) if wish.subject else x509.Name([])
        signer = issuer.key if issuer else key
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._at(wish.since))
            .not_valid_after(self._at(wish.until))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )

    def _at(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(int(self.now + seconds), UTC)


def common_name(name: str) -> x509.Name:
    """A subject of that name only."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def uris(*texts: str) -> list[x509.GeneralName]:
    """URI names, in this order."""
    return [x509.UniformResourceIdentifier(text) for text in texts]


def raw_uri(text: bytes) -> bytes:
    """The DER of a SubjectAltName with one URI of these very bytes."""
    return der(0x30, der(0x86, text))


def der(tag: int, content: bytes) -> bytes:
    """One DER element."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def tampered(certificate: Signer, old: bytes, new: bytes, issuer: Signer | None = None) -> Signer:
    """The certificate with some of its bytes replaced by as many.

    `issuer` signs it again; without one the signature is that of the original.
    """
    original = certificate.certificate
    body = original.tbs_certificate_bytes
    if old not in body or len(old) != len(new):
        raise ValueError(f"{old.hex()} cannot be replaced by {new.hex()}")
    body = body.replace(old, new)
    signature = original.signature
    if issuer is not None:
        signature = issuer.key.sign(body, ec.ECDSA(hashes.SHA256()))
    encoded = original.public_bytes(Encoding.DER)
    algorithm = _second_element(encoded)
    whole = der(0x30, body + algorithm + der(0x03, b"\0" + signature))
    return Signer(x509.load_der_x509_certificate(whole), certificate.key)


def _second_element(encoded: bytes) -> bytes:
    """Of a DER sequence: its second element, which is the signature algorithm."""
    certificate = x509.load_der_x509_certificate(encoded)
    start = encoded.index(certificate.tbs_certificate_bytes) + len(
        certificate.tbs_certificate_bytes
    )
    return encoded[start : start + 2 + encoded[start + 1]]


def _extensions(wish: Wish) -> list[tuple[x509.ExtensionType, bool]]:
    made: list[tuple[x509.ExtensionType, bool]] = []
    if wish.ca is not None:
        made.append((x509.BasicConstraints(wish.ca, wish.path_length), True))
    if wish.usage is not None:
        made.append((wish.usage, True))
    if wish.purposes:
        made.append((x509.ExtendedKeyUsage(wish.purposes), False))
    if wish.raw_names is not None:
        made.append((x509.UnrecognizedExtension(_SAN_OID, wish.raw_names), True))
    elif wish.names:
        made.append((x509.SubjectAlternativeName(wish.names), True))
    return [*made, *wish.extra]
