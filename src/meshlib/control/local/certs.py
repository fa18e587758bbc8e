"""
Making certificates: the profiles of the local CA, without files and without a clock.

All keys are P-256.  Times are Unix seconds, cut to whole ones, as in the certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlib.errors import ConfigError

Key: TypeAlias = ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MAX_CSR = 16384
"""Bytes; ten times a CSR with an RSA-4096 key."""
MIN_RSA, MAX_RSA = 2048, 4096
"""Bits: the least NIST SP 800-57 allows, and the most a peer should have to verify."""
CURVES = ("secp256r1", "secp384r1")


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA certificate and its key."""

    certificate: x509.Certificate
    key: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a certificate is valid, Unix seconds."""

    since: float
    until: float

    def within(self, issuer: x509.Certificate) -> Life:
        """Cut to the issuer's end: nothing outlives what vouches for it."""
        return Life(self.since, min(self.until, issuer.not_valid_after_utc.timestamp()))


def new_key() -> Key:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes) -> Key:
    """The reverse of `key_pem`; raises ValueError for anything else."""
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"expected an elliptic curve key, found {type(key).__name__}")  # noqa: TRY004 - it is the file's content that is wrong
    return key


def chain_pem(*certificates: x509.Certificate) -> bytes:
    """Certificates one after the other, leaf first."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, in hex, as `openssl x509 -fingerprint` has it without colons."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def root_certificate(name: str, key: Key, life: Life, *, path_length: int) -> x509.Certificate:
    """A self-signed CA."""
    builder = _ca(name, key, life, path_length).issuer_name(_subject(name))
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())


def ca_certificate(
    name: str, key: Key, life: Life, issuer: Signer, *, path_length: int
) -> x509.Certificate:
    """A CA beneath another one; also a cross certificate, when `name` and `key` are a root's."""
    return _sign(_ca(name, key, life.within(issuer.certificate), path_length), issuer)


def leaf_certificate(key: PublicKey, uri: str, life: Life, issuer: Signer) -> x509.Certificate:
    """An X509-SVID: no subject, and the SPIFFE id as its one, critical name."""
    builder = (
        _base(x509.Name([]), key, life.within(issuer.certificate))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(BOTH_SIDES), critical=False)
        # critical because the subject is empty: RFC 5280, section 4.2.1.6
        .add_extension(_uri_names(uri), critical=True)
    )
    return _sign(builder, issuer)


def check_csr(pem: bytes, uri: str) -> PublicKey:
    """The key of a request that asks for `uri` and nothing more.  Raises ConfigError.

    `uri` must come from whoever authenticated the caller, never from the request.
    """
    if len(pem) > MAX_CSR:
        raise ConfigError("csr", f"{len(pem)} bytes", f"at most {MAX_CSR} bytes")
    try:
        request = x509.load_pem_x509_csr(pem)
        key, extensions = request.public_key(), request.extensions
        signed = request.is_signature_valid
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise ConfigError("csr", pem[:40], f"a PEM certificate request ({exc})") from exc
    if not signed:
        raise ConfigError("csr.signature", "invalid", "one by the key that it names")
    for extension in extensions:
        _check_wish(extension.value, uri)
    return _allowed(key)


def key_usage(**on: bool) -> x509.KeyUsage:
    """A key usage with only the named bits set."""
    return x509.KeyUsage(**{bit: on.get(bit, False) for bit in _USAGE_BITS})


BOTH_SIDES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""Every workload is a server and a client."""

_USAGE_BITS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _check_wish(wish: x509.ExtensionType, uri: str) -> None:
    if isinstance(wish, x509.SubjectAlternativeName):
        for name in wish:
            if name != x509.UniformResourceIdentifier(uri):
                raise ConfigError("csr.names", name, f"only {uri}, the caller's own id")
    if isinstance(wish, x509.BasicConstraints) and wish.ca:
        raise ConfigError("csr.basicConstraints", "CA:TRUE", "a leaf")
    if isinstance(wish, x509.KeyUsage) and (wish.key_cert_sign or wish.crl_sign):
        raise ConfigError("csr.keyUsage", wish, "no certSign or crlSign")


def _allowed(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA <= key.key_size <= MAX_RSA:
        return key
    found = f"{type(key).__name__} of {getattr(key, 'key_size', '?')} bits"
    raise ConfigError("csr.key", found, f"{' or '.join(CURVES)}, or RSA {MIN_RSA} to {MAX_RSA}")


def _ca(name: str, key: Key, life: Life, path_length: int) -> x509.CertificateBuilder:
    return (
        _base(_subject(name), key.public_key(), life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )


def _base(subject: x509.Name, key: PublicKey, life: Life) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(life.since), UTC))
        .not_valid_after(datetime.fromtimestamp(int(life.until), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, issuer: Signer) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return (
        builder.issuer_name(issuer.certificate.subject)
        .add_extension(identifier, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _uri_names(uri: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
