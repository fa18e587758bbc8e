"""
What rotates: a leaf certificate with its key, and the roots that vouch for others.

All values are immutable; a rotation is a new `Credentials` with a higher generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn, SupportsIndex


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The roots of one trust domain."""

    trust_domain: str
    roots: frozenset[bytes]
    """DER certificates."""


@dataclass(frozen=True, slots=True)
class LeafCert:
    """A certificate chain, leaf first, and the key of the leaf."""

    spiffe_id: str
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    not_before: float
    """Unix time, seconds."""
    not_after: float
    """Unix time, seconds."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: what is pickled or copied goes where nobody looks after the key."""
        del protocol
        raise TypeError("a LeafCert holds a private key: it is neither pickled nor copied")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything one side of a handshake needs."""

    leaf: LeafCert
    bundles: Mapping[str, TrustBundle]
    """By trust domain."""
    generation: int = 0
    """Grows with every rotation; connection pools are kept one a generation."""
    trouble: str = ""
    """Why the leaf, which has expired, was not renewed."""
    remedy: str = ""
    """What to do about it."""
