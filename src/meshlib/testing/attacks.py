"""Every bad credential there is here, and good ones: who refuses everybody is no better."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshlib.testing.arena import Arena, Shown
from meshlib.testing.forge import LEAF_USAGE, uris
from meshlib.testing.wrong_chains import wrong_chains
from meshlib.testing.wrong_names import wrong_names

HOLDER = frozenset({"client"})


def bad(arena: Arena) -> Iterator[Shown]:
    """What must be refused."""
    yield from wrong_names(arena)
    yield from wrong_chains(arena)


def good(arena: Arena) -> Iterator[Shown]:
    """What must be accepted, however unusual."""
    yield from _leaves(arena)
    yield from _keys(arena)
    yield from _chains(arena)


def _leaves(arena: Arena) -> Iterator[Shown]:
    usual, peer = arena.forge.shown, arena.peer
    longest = f"{peer}/{'x' * (2047 - len(peer))}"
    names = [x509.DNSName("peer"), *uris(peer), x509.DNSName("localhost")]
    yield Shown("an ordinary leaf", usual(arena.issued()))
    yield Shown("a leaf with DNS names, too", usual(arena.issued(names=names)))
    yield Shown("a leaf with a subject", usual(arena.issued(subject="somebody")))
    yield Shown("a leaf without extended key usage", usual(arena.issued(purposes=())))
    yield Shown("a leaf without basic constraints", usual(arena.issued(ca=None)))
    yield Shown("the last half hour", usual(arena.issued(until=1800.0)))
    yield Shown("the longest id", usual(arena.issued(names=uris(longest))), by=HOLDER)
    other = arena.issued(names=uris(arena.ours.id_of("other")))
    yield Shown("another service of the domain", usual(other), by=HOLDER)


def _keys(arena: Arena) -> Iterator[Shown]:
    usual = arena.forge.shown
    yield Shown("P-384", usual(arena.issued(key=ec.generate_private_key(ec.SECP384R1()))))
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield Shown("RSA of 2048 bits", usual(arena.issued(key=key, usage=LEAF_USAGE), key=pem))


def _chains(arena: Arena) -> Iterator[Shown]:
    usual, root = arena.forge.shown, arena.ours.root
    one = arena.forge.authority(root, "one")
    two = arena.forge.authority(one, "two", path_length=0)
    yield Shown("an intermediate", usual(arena.issued(one), one))
    yield Shown("two intermediates", usual(arena.issued(two), two, one))
    yield Shown("two intermediates in the wrong order", usual(arena.issued(two), one, two))
    yield Shown("the root sent along", usual(arena.issued(), root))
    yield Shown("a stranger's certificate sent along", usual(arena.issued(), arena.stranger.root))
    cross = arena.forge.crossed(arena.retired.root, root)
    crossed = arena.issued(arena.retired.root)
    yield Shown("a new root, cross-signed by ours", usual(crossed, cross))
