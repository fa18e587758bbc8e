"""
Where bad credentials are tried: one moment, our side, and four authorities.

Ours signs `example.org`; one we federate with signs `federated.org`; one was ours until a rotation;
one is a stranger who calls itself ours.  Our side is the service `me`, and talks to `peer`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.local.certs import Signer
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.forge import CA_USAGE, HOUR, Forge, Wish, uris
from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle

BOTH = frozenset({"client", "server"})


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody shows in a handshake, and what is to become of it."""

    name: str
    leaf: LeafCert = field(repr=False)
    why: str = ""
    """A regular expression for our reason to refuse it; empty when it is good."""
    rule: str = ""
    """What it breaks, and where that rule is from."""
    by: frozenset[str] = BOTH
    """In which of the roles client and server it is as bad, or as good, as that."""

    def __str__(self) -> str:
        return self.name


class Arena:
    """See the module; `now` is Unix time, seconds."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.forge = Forge(now)
        self.ours = ThrowawayCA(now=now)
        self.federated = ThrowawayCA("federated.org", now=now)
        self.retired = ThrowawayCA(now=now)
        self.stranger = ThrowawayCA(now=now)
        self.me, self.peer = self.ours.id_of("me"), self.ours.id_of("peer")

    @cached_property
    def bygone(self) -> Signer:
        """A root of ours that has expired and still stands in the bundle."""
        return self.forge.certificate(
            None,
            Wish(subject="bygone root", ca=True, usage=CA_USAGE, since=-9 * HOUR, until=-HOUR),
        )

    def issued(self, issuer: Signer | None = None, key: Any = None, **wish: Any) -> Signer:
        """A leaf of `peer` by our root, unless said otherwise."""
        return self.forge.certificate(issuer or self.ours.root, self.wish(**wish), key)

    def wish(self, **wish: Any) -> Wish:
        """A leaf of `peer`, unless said otherwise."""
        return Wish(**{"names": uris(self.peer), **wish})

    def credentials(self, generation: int = 1) -> Credentials:
        """Our side's: it trusts our root, the bygone one, and the federated domain."""
        bygone = self.bygone.certificate.public_bytes(Encoding.DER)
        trusted = {
            "example.org": TrustBundle("example.org", self.ours.bundle.roots | {bygone}),
            "federated.org": self.federated.bundle,
        }
        return Credentials(self.ours.leaf(uris=(self.me,)), trusted, generation)
