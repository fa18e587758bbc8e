"""Certificates of `peer` with the right name that nobody may vouch for, or not like this."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshlib.control.local.certs import key_usage
from meshlib.testing.arena import Arena, Shown
from meshlib.testing.forge import CA_USAGE, tampered, uris

_PATH = "RFC 5280 6.1: path validation"
_LEAF = "SPIFFE X509-SVID 4: what a leaf may be used for"
_DATES = "RFC 5280 4.1.2.5: validity"
_TRUST = "SPIFFE X509-SVID 5.1: up to a root of the id's own trust domain"
CLIENT, SERVER = frozenset({"client"}), frozenset({"server"})


def wrong_chains(arena: Arena) -> Iterator[Shown]:
    """All of them."""
    yield from _dates(arena)
    yield from _anchors(arena)
    yield from _issuers(arena)
    yield from _uses(arena)
    yield from _signatures(arena)


def _dates(arena: Arena) -> Iterator[Shown]:
    forge, root = arena.forge, arena.ours.root
    dates: dict[str, tuple[dict[str, Any], str]] = {
        "expired": ({"until": -10.0}, "expired"),
        "not yet valid": ({"since": 1800.0}, "not yet valid"),
        "ends before it begins": ({"since": -10.0, "until": -10.0}, "expired"),
    }
    for name, (wish, why) in dates.items():
        yield Shown(name, forge.shown(arena.issued(**wish)), why, _DATES)
        via = forge.authority(root, **wish)
        yield Shown(f"{name}: the intermediate", forge.shown(arena.issued(via), via), why, _DATES)
    of_old = forge.shown(arena.issued(arena.bygone))
    yield Shown("expired: the root", of_old, "expired", _DATES)


def _anchors(arena: Arena) -> Iterator[Shown]:
    forge = arena.forge
    unknown = "unable to get|self.signed|not found|signature failure"
    federated = forge.authority(arena.federated.root)
    alone = forge.certificate(None, arena.wish(subject="peer"))
    self_made = forge.certificate(None, arena.wish(subject="peer", ca=True, usage=CA_USAGE))
    shown = {
        "federated root that claims our domain": ((arena.issued(arena.federated.root),), "not of"),
        "its intermediate that claims our domain": (
            (arena.issued(federated), federated),
            "not of",
        ),
        "a root that was rotated out": ((arena.issued(arena.retired.root),), unknown),
        "a stranger of our name": ((arena.issued(arena.stranger.root),), unknown),
        "a stranger of our name, with its root": (
            (arena.issued(arena.stranger.root), arena.stranger.root),
            unknown,
        ),
        "self-signed": ((alone,), unknown),
        "self-signed CA": ((self_made,), unknown),
    }
    for name, (certificates, why) in shown.items():
        yield Shown(name, forge.shown(*certificates), why, _TRUST)
    elsewhere = arena.issued(arena.federated.root, names=uris(arena.federated.id_of("peer")))
    yield Shown(
        "federated, and nobody we talk to",
        forge.shown(elsewhere),
        "not who is expected",
        "the id that is expected",
    )


def _issuers(arena: Arena) -> Iterator[Shown]:
    forge, root = arena.forge, arena.ours.root
    ordinary, usual = forge.authority(root), forge.shown
    leaf = arena.issued(subject="a leaf")
    short = forge.authority(root, "short", path_length=0)
    below = forge.authority(short, "below")
    cannot_sign = forge.authority(root, "cannot sign", usage=key_usage(digital_signature=True))
    no_ca = forge.authority(root, "no CA", ca=False)
    unsaid = forge.authority(root, "unsaid", ca=None)
    elsewhere = forge.authority(root, "elsewhere", extra=[(_only_under("other.org"), True)])
    chains = {
        "the intermediate is missing": ((arena.issued(ordinary),), "unable to get"),
        "another intermediate": (
            (arena.issued(ordinary), forge.authority(root)),
            "unable to get|signature failure",
        ),
        "a leaf signs a leaf": ((arena.issued(leaf), leaf), "invalid CA|not.*CA|usage"),
        "a CA beneath a path length of 0": ((arena.issued(below), below, short), "path length"),
        "a CA that may not sign certificates": (
            (arena.issued(cannot_sign), cannot_sign),
            "usage|invalid CA",
        ),
        "a CA that says it is none": ((arena.issued(no_ca), no_ca), "CA|usage"),
        "a CA that does not say it is one": ((arena.issued(unsaid), unsaid), "CA"),
        "a CA of another name space": ((arena.issued(elsewhere), elsewhere), "subtree"),
    }
    for name, (certificates, why) in chains.items():
        yield Shown(name, usual(*certificates), why, _PATH)


def _uses(arena: Arena) -> Iterator[Shown]:
    signs = {"digital_signature": True}
    usages: dict[str, dict[str, Any]] = {
        "a CA as a leaf": {"ca": True, "usage": key_usage(**signs, key_cert_sign=True)},
        "a CA as a leaf, that may not sign certificates": {"ca": True},
        "may sign certificates": {"usage": key_usage(**signs, key_cert_sign=True)},
        "may sign revocation lists": {"usage": key_usage(**signs, crl_sign=True)},
        "may not sign": {"usage": key_usage(key_agreement=True)},
        "does not say what its key is for": {"usage": None},
    }
    for name, wish in usages.items():
        leaf = arena.forge.shown(arena.issued(**wish))
        yield Shown(name, leaf, "usage|CA", _LEAF)
    for name, purpose, role in (
        ("for servers only", ExtendedKeyUsageOID.SERVER_AUTH, CLIENT),
        ("for clients only", ExtendedKeyUsageOID.CLIENT_AUTH, SERVER),
        ("for code signing only", ExtendedKeyUsageOID.CODE_SIGNING, CLIENT | SERVER),
    ):
        leaf = arena.forge.shown(arena.issued(purposes=[purpose]))
        yield Shown(name, leaf, "purpose", "RFC 5280 4.2.1.12", role)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\5\0")
    leaf = arena.forge.shown(arena.issued(extra=[(unknown, True)]))
    yield Shown("a critical extension nobody knows", leaf, "critical", "RFC 5280 4.2")


def _signatures(arena: Arena) -> Iterator[Shown]:
    forge = arena.forge
    path = b"/svc/peer"
    other = arena.issued(names=uris(arena.ours.id_of("poor")))
    renamed = tampered(other, b"/svc/poor", path)
    yield Shown("renamed after it was signed", forge.shown(renamed), "signature", _PATH)
    stolen = forge.certificate(arena.stranger.root, arena.wish())
    claimed = tampered(stolen, *_identifiers(arena))
    yield Shown("names our root's key as its issuer", forge.shown(claimed), "signature", _PATH)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    pem = weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    leaf = forge.shown(arena.issued(key=weak), key=pem)
    yield Shown("RSA of 1024 bits", leaf, "too (small|weak)", "NIST SP 800-57: 2048 bits")
    curve = ec.generate_private_key(ec.SECP192R1())
    leaf = forge.shown(arena.issued(key=curve))
    yield Shown("a curve of 192 bits", leaf, ".", "NIST SP 800-57: 224 bits")


def _identifiers(arena: Arena) -> tuple[bytes, bytes]:
    roots = arena.stranger.root, arena.ours.root
    theirs, ours = (
        x509.SubjectKeyIdentifier.from_public_key(each.key.public_key()).digest for each in roots
    )
    return theirs, ours


def _only_under(domain: str) -> x509.NameConstraints:
    return x509.NameConstraints([x509.UniformResourceIdentifier(domain)], None)
