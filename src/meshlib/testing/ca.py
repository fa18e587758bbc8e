"""A CA for tests, in memory, that also makes every certificate a careful peer must refuse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.local import certs
from meshlib.control.local.certs import Life, Signer
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle

YEAR = 365 * 86400.0
DAY = 86400.0


class ThrowawayCA:
    """One root, valid for a year around `now` (Unix time), that signs anything."""

    def __init__(self, trust_domain: str = "example.org", *, now: float) -> None:
        key = certs.new_key()
        life = Life(now - YEAR / 2, now + YEAR / 2)
        root = certs.root_certificate(f"{trust_domain} root", key, life, path_length=2)
        self.trust_domain = trust_domain
        self.now = now
        self.root = Signer(root, key)
        self.bundle = TrustBundle(trust_domain, frozenset({root.public_bytes(Encoding.DER)}))

    def id_of(self, service: str) -> str:
        """The SPIFFE id of a service here."""
        return str(spiffe.service_id(self.trust_domain, service))

    def credentials(
        self,
        service: str,
        *,
        trust: Sequence[ThrowawayCA] = (),
        generation: int = 1,
        **leaf: Any,
    ) -> Credentials:
        """Credentials of a service that trusts this CA and the `trust` ones; see `leaf`."""
        bundles = {ca.trust_domain: ca.bundle for ca in (*trust, self)}
        made = self.leaf(**{"uris": (self.id_of(service),), **leaf})
        return Credentials(made, bundles, generation)

    def leaf(
        self,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        since: float = -300.0,
        until: float = DAY,
        ca: bool = False,
        usage: x509.KeyUsage | None = None,
        names: bytes | None = None,
    ) -> LeafCert:
        """A leaf with exactly these properties, right or wrong.

        `since` and `until` are seconds from `now`; `names` is a whole SubjectAltName in DER, for
        what no library would encode.
        """
        key = certs.new_key()
        builder = _begin(key, self.root, self.now + since, self.now + until)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        usage = usage or certs.key_usage(digital_signature=True)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(certs.BOTH_SIDES), critical=False)
        for name in _alternatives(uris, dns, names):
            builder = builder.add_extension(name, critical=True)
        certificate = builder.sign(self.root.key, hashes.SHA256())
        text = uris[0] if uris else ""
        chain, since, until = certs.chain_pem(certificate), self.now + since, self.now + until
        return LeafCert(text, chain, certs.key_pem(key), since, until)


def _begin(key: certs.Key, issuer: Signer, since: float, until: float) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(since), UTC))
        .not_valid_after(datetime.fromtimestamp(int(until), UTC))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _alternatives(
    uris: Sequence[str], dns: Sequence[str], names: bytes | None
) -> list[x509.ExtensionType]:
    if names is not None:
        return [x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, names)]
    listed: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    listed += [x509.DNSName(name) for name in dns]
    return [x509.SubjectAlternativeName(listed)] if listed else []
