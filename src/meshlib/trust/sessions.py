"""
Sessions of TLS 1.2 that may be taken up again, and who vouched for their peers.

Python cannot switch off OpenSSL's memory of sessions on a server, and to refuse a client that
comes back with one (Envoy does, by default) would fail its request.  So a server remembers, too:
the anchor that stood behind each session, which is not verified again when it is resumed, and when
the first certificate between the two ends, which nobody would know then.  It is
kept one a context, as OpenSSL's is, and contexts live for one generation of the credentials: what
was trusted then is trusted now, and after a rotation nothing is remembered.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

MOST = 20 * 1024
"""Sessions: OpenSSL's SSL_SESSION_CACHE_MAX_SIZE_DEFAULT."""


class Vouched(NamedTuple):
    """What a full handshake has found out."""

    anchor: bytes
    """The root, DER, that vouched for the peer."""
    until: float
    """Unix time, seconds, at which the first certificate of the chain ends."""


class Sessions:
    """What is known of each session; the oldest are forgotten first.  Safe for threads."""

    __slots__ = ("_known", "_lock", "_most")

    def __init__(self, most: int = MOST) -> None:
        self._known: dict[bytes, Vouched] = {}
        self._lock = threading.Lock()
        self._most = most

    def remember(self, session: bytes, vouched: Vouched) -> None:
        """A full handshake has ended well."""
        with self._lock:
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[session] = vouched

    def find(self, session: bytes) -> Vouched | None:
        """What was found out about the peer of this session; None: nobody knows."""
        return self._known.get(session)
