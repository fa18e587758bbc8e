"""
What a request must be before the application sees it.

Pure: the wrappers read the request's head and its connection, and do what is decided here.  The
order of the questions matters.  First whether the head can be understood in one way only: what two
parsers read differently is not looked at any further.  Then who is at the other end, and whether a
handshake with them would still succeed now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from meshlib.model import Identity
from meshlib.runtime import Clock
from meshlib.serve.plaintext import Plaintext
from meshlib.trust.bundle import Credentials
from meshlib.watch import Watch

if TYPE_CHECKING:
    from meshlib.trust.verify import Peer

HEALTH_PATH = "/-/health"
"""Answered by the mesh itself."""

_VERSIONS = frozenset({"1.0", "1.1", "2"})
_CLAIM = re.compile(
    r"x[-_](?:forwarded[-_]client[-_]cert|spiffe[-_]id|mesh[-_].*)", re.IGNORECASE | re.DOTALL
)


class Connection:
    """What is known of a connection from the connection itself, whatever is said on it."""

    __slots__ = ("edge", "identity", "let_in", "peer", "plaintext")

    def __init__(self, peer: Peer | None, *, edge: bool = False, plaintext: bool = False) -> None:
        self.peer = peer
        self.edge = edge
        self.plaintext = plaintext
        """Whether it came without TLS where the mesh's own connections come."""
        self.identity: Identity | None = peer.identity if peer else None
        self.let_in: object = None
        """Under which rules all of its requests are (see `serve.authorize`); None: not known."""


class Head(NamedTuple):
    """The parts of a request's head that decide whether it is admitted."""

    version: str
    """ "1.0", "1.1" or "2"."""
    target: str
    """The request target as received, without the query."""
    hosts: int = 1
    """How many Host headers."""
    lengths: int = 0
    """How many Content-Length headers."""
    encodings: int = 0
    """How many Transfer-Encoding headers."""
    encoding: str = "chunked"
    """What the last of them says."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not admitted; its connection is closed."""

    status: int
    reason: str
    """One line, for the body."""
    headers: tuple[tuple[str, str], ...] = ()
    """Lower-case names, for the answer."""


class Admission:
    """Decides request by request.  `unix` gives Unix time, seconds."""

    __slots__ = ("_credentials", "_plaintext", "_unix")

    def __init__(
        self, credentials: Watch[Credentials], unix: Clock, plaintext: Plaintext | None = None
    ) -> None:
        self._credentials = credentials
        self._unix = unix
        self._plaintext = plaintext

    def refusal(self, head: Head, connection: Connection | None) -> Refusal | None:
        """Why the request is not admitted; None when it is.

        `connection` is None when the server does not know it: it is not one of ours.
        """
        flaw = flaw_of(head)
        return Refusal(400, flaw) if flaw else self.distrust(connection)

    def distrust(self, connection: Connection | None) -> Refusal | None:
        """Why nobody on this connection is admitted; None when everybody is."""
        if connection is not None and connection.edge:
            return None
        if connection is None or connection.peer is None:
            if connection is not None and connection.plaintext and self._lenient:
                return None
            return Refusal(421, "this service answers only over mutual TLS of the mesh")
        if not connection.peer.still_trusted(self._credentials.value, self._unix()):
            return Refusal(421, "the certificate of this connection is no longer trusted")
        return None

    @property
    def _lenient(self) -> bool:
        return self._plaintext is not None and self._plaintext.accepted


def flaw_of(head: Head) -> str:
    """Why two parsers might read this head differently (RFC 9112 sections 2.3, 3.2, 6), or ""."""
    if head.version not in _VERSIONS:
        return f"HTTP/{head.version} is not spoken here"
    if head.lengths + head.encodings > 1:
        return "more than one Content-Length or Transfer-Encoding"
    if head.encodings and (head.version == "1.0" or head.encoding.lower() != "chunked"):
        return "the only Transfer-Encoding is chunked, and HTTP/1.0 has none"
    if head.hosts != 1 and (head.hosts or head.version == "1.1"):
        return f"expected exactly one Host, got {head.hosts}"
    if not head.target.startswith("/"):
        return 'expected a request target that starts with "/"'
    return ""


def claims_identity(name: str) -> bool:
    """Whether a header says who is calling.  Only the connection proves that, so it is removed.

    `-` and `_` are one character here, because WSGI makes them one.
    """
    return _CLAIM.fullmatch(name) is not None
