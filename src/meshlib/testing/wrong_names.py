"""Certificates of our own root whose names are not one SPIFFE id of the expected workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from cryptography import x509

from meshlib.testing.arena import Arena, Shown
from meshlib.testing.forge import der, raw_uri, uris
from meshlib.trust.bundle import LeafCert

SERVER = frozenset({"server"})
"""A good id of somebody else: a client may be anybody of the domain."""

_COUNT = "SPIFFE X509-SVID 2: exactly one URI name"
_ID = "SPIFFE-ID 2: what an id is made of"
_OTHER_NAMES = "SPIFFE X509-SVID 2: the id is the URI name and nothing else"


def wrong_names(arena: Arena) -> Iterator[Shown]:
    """All of them."""
    yield from _spelled(arena)
    yield from _encoded(arena)
    yield from _somebody_else(arena)
    yield from _counted(arena)
    yield from _no_uri(arena)


def _spelled(arena: Arena) -> Iterator[Shown]:
    """Spellings that a careless parser takes for the id of `peer`, or for any id at all."""
    peer, at = arena.peer, arena.peer.replace
    spellings = {
        "upper-case scheme": at("spiffe:", "SPIFFE:"),
        "upper-case trust domain": at("example.org", "Example.org"),
        "percent-encoded letter": at("/peer", "/%70eer"),
        "percent-encoded slash": at("/svc/peer", "/svc%2Fpeer"),
        "dot segment": at("/svc/", "/./svc/"),
        "dot-dot segment": at("/svc/", "/svc/x/../"),
        "dot-dot at the end": f"{peer}/..",
        "empty segment": at("/svc/", "//svc/"),
        "trailing slash": f"{peer}/",
        "query": f"{peer}?x=1",
        "empty query": f"{peer}?",
        "fragment": f"{peer}#x",
        "port": at("example.org", "example.org:443"),
        "user info": at("example.org", "me@example.org"),
        "backslash": at("/svc/", "/svc\\"),
        "blank behind it": f"{peer} ",
        "blank before it": f" {peer}",
        "wildcard": at("/peer", "/*"),
        "no path": "spiffe://example.org",
        "a root path": "spiffe://example.org/",
        "no trust domain": "spiffe:///ns/default/dc/local/svc/peer",
        "one slash": at("spiffe://", "spiffe:/"),
        "no scheme": at("spiffe://", "//"),
        "https URI": at("spiffe://", "https://"),
        "an id longer than 2048 bytes": f"{peer}/{'x' * 2048}",
        "a trust domain longer than 255 bytes": at("example.org", f"{'x' * 256}.org"),
        "empty": "",
    }
    for name, spelling in spellings.items():
        yield Shown(name, _named(arena, spelling), "spiffe|workload", _ID)


def _encoded(arena: Arena) -> Iterator[Shown]:
    """Bytes that no library writes into a URI."""
    peer = arena.peer.encode()
    encodings = {
        "NUL behind it": peer + b"\0",
        "NUL and more behind it": peer + b"\0.evil",
        "NUL inside": peer.replace(b"/svc/", b"/svc/\0"),
        "newline behind it": peer + b"\n",
        "line break and more behind it": peer + b"\r\nspiffe://example.org/x",
        "newline before it": b"\n" + peer,
        "tab behind it": peer + b"\t",
        "UTF-8 in the path": peer.replace(b"peer", "pe\u00e9r".encode()),
        "Latin-1 in the path": peer.replace(b"peer", b"pe\xe9r"),
        "a Cyrillic letter in the trust domain": peer.replace(b"example", "ex\u0430mple".encode()),
    }
    for name, encoding in encodings.items():
        leaf = arena.forge.shown(arena.issued(raw_names=raw_uri(encoding)))
        yield Shown(name, leaf, "names|read", _ID)


def _somebody_else(arena: Arena) -> Iterator[Shown]:
    """Good ids of those who are not meant."""
    at = arena.peer.replace
    for name, spiffe_id in {
        "another service": arena.ours.id_of("other"),
        "our own id, reflected": arena.me,
        "another case of the path": at("/peer", "/Peer"),
        "a longer name": f"{arena.peer}2",
        "one segment more": f"{arena.peer}/admin",
        "another datacenter": at("/local/", "/remote/"),
        "another namespace": at("/default/", "/other/"),
    }.items():
        why = "not who is expected"
        yield Shown(name, _named(arena, spiffe_id), why, "the id that is expected", SERVER)
    for name, spiffe_id in {
        "our root for a federated domain": arena.federated.id_of("peer"),
        "a domain we have no bundle of": at("example.org", "foreign.org"),
        "a subdomain of ours": at("example.org", "sub.example.org"),
        "a domain that begins like ours": at("example.org", "example.org.evil.com"),
        "a domain with a dot behind ours": at("example.org", "example.org."),
    }.items():
        rule = "SPIFFE Trust Domain and Bundle 5: a root speaks for its own domain"
        yield Shown(name, _named(arena, spiffe_id), "not of|expected one of", rule)


def _counted(arena: Arena) -> Iterator[Shown]:
    """More than one URI, in any order."""
    peer, other = arena.peer, arena.ours.id_of("other")
    orders: dict[str, Sequence[str]] = {
        "two ids, ours first": (peer, other),
        "two ids, ours last": (other, peer),
        "the same id twice": (peer, peer),
        "an id, then another URI": (peer, "https://example.org/peer"),
        "another URI, then an id": ("https://example.org/peer", peer),
        "an id, then an empty URI": (peer, ""),
    }
    for name, order in orders.items():
        yield Shown(name, _named(arena, *order), "2 URI names", _COUNT)


def _no_uri(arena: Arena) -> Iterator[Shown]:
    """The id everywhere but in a URI name."""
    peer = arena.peer
    places: dict[str, list[x509.GeneralName]] = {
        "DNS name only": [x509.DNSName("peer"), x509.DNSName("127.0.0.1")],
        "id as a DNS name": [x509.DNSName(peer)],
        "id as an e-mail address": [x509.RFC822Name(peer)],
        "id as a registered name": [x509.OtherName(x509.ObjectIdentifier("1.2.3"), _utf8(peer))],
        "IP address only": [x509.IPAddress(_loopback())],
    }
    for name, names in places.items():
        leaf = arena.forge.shown(arena.issued(names=names))
        yield Shown(name, leaf, "0 URI names", _OTHER_NAMES)
    subjects = {"no names at all": "", "id as the common name": "spiffe://example.org/x"}
    for name, subject in subjects.items():
        leaf = arena.forge.shown(arena.issued(names=(), subject=subject))
        yield Shown(name, leaf, "0 URI names|Subject name empty", _OTHER_NAMES)


def _named(arena: Arena, *texts: str) -> LeafCert:
    return arena.forge.shown(arena.issued(names=uris(*texts)))


def _utf8(text: str) -> bytes:
    return der(0x0C, text.encode())


def _loopback() -> IPv4Address:
    return IPv4Address("127.0.0.1")
