"""
Clients that must not get a single byte out of the backend, and one that must.

They speak through raw sockets, so that nothing between them and the server is polite on their
behalf.  Only application bytes count: a TLS alert is a refusal, not an answer.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from meshlib.trust.bundle import Credentials

Address: TypeAlias = tuple[str, int]

PATIENCE = 3.0
"""Seconds a stranger waits for an answer."""
_REQUEST = (
    b"GET {path} HTTP/1.1\r\nHost: backend\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
)
_TLS_ALERT = b"\x15\x03"
"""How a TLS alert record begins (RFC 8446 section 5.1)."""


@dataclass(frozen=True, slots=True)
class Encounter:
    """What one client got."""

    address: Address
    received: bytes
    """Application bytes."""
    ended: str
    """How it ended, in words."""


def knock(address: Address, context: ssl.SSLContext | None, path: str) -> Encounter:
    """Send one GET, over plain TCP without a context, and collect all that comes back."""
    received = bytearray()
    try:
        raw = socket.create_connection(address, timeout=PATIENCE)
        with raw, raw if context is None else context.wrap_socket(raw) as connection:
            connection.sendall(_REQUEST.replace(b"{path}", path.encode()))
            while data := connection.recv(65536):
                received += data
        ended = "closed by the server"
    except OSError as exc:  # ssl.SSLError and TimeoutError are OSErrors
        ended = f"{type(exc).__name__}: {exc}"
    if context is None and received.startswith(_TLS_ALERT):
        return Encounter(address, b"", "refused with a TLS alert")
    return Encounter(address, bytes(received), ended)


def without_certificate() -> ssl.SSLContext:
    """A client that trusts anybody and shows nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def with_member_certificate(credentials: Credentials) -> ssl.SSLContext:
    """A client of the mesh: the counter-check that shows the others knocked at the right door."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the servers' certificates name services, not hosts
    for bundle in credentials.bundles.values():
        for root in bundle.roots:
            context.load_verify_locations(cadata=root)
    _load(context, credentials.leaf.chain_pem, credentials.leaf.key_pem)
    return context


def with_foreign_certificate(spiffe_id: str) -> ssl.SSLContext:
    """A client that claims a name of the mesh, signed by a throw-away CA of its own."""
    context = without_certificate()
    _load(context, *_forge(spiffe_id))
    return context


def _load(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    # OpenSSL reads files only; this one is readable by its owner and gone at once.
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(key + b"\n" + chain)
        file.flush()
        context.load_cert_chain(Path(file.name))


def _forge(spiffe_id: str) -> tuple[bytes, bytes]:
    """A chain and a key in PEM that look right in everything but who signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away CA")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    ca = builder(ca_name, ca_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    leaf = builder(x509.Name([]), key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)]), critical=True
    )
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
    )
    signed = (each.sign(ca_key, hashes.SHA256()) for each in (leaf, ca))
    chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in signed)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return chain, secret


STRANGERS: dict[str, tuple[str, Callable[[str], ssl.SSLContext | None]]] = {
    "no_certificate": ("a client without a certificate", lambda _: without_certificate()),
    "foreign_certificate": ("a client with a certificate of another CA", with_foreign_certificate),
    "plain_http": ("a client that speaks plain HTTP", lambda _: None),
}
"""Who knocks, and how: each makes a context, given a SPIFFE id worth claiming."""
