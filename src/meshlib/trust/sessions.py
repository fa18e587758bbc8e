"""
Sessions of TLS 1.2 that may be taken up again, and who vouched for their peers.

Python cannot switch off OpenSSL's memory of sessions on a server, and to refuse a client that
comes back with one (Envoy does, by default) would fail its request.  So a server remembers, too:
the anchor that stood behind each session, which is not verified again when it is resumed.  It is
kept one a context, as OpenSSL's is, and contexts live for one generation of the credentials: what
was trusted then is trusted now, and after a rotation nothing is remembered.
"""

from __future__ import annotations

import threading

MOST = 20 * 1024
"""Sessions: OpenSSL's SSL_SESSION_CACHE_MAX_SIZE_DEFAULT."""


class Sessions:
    """The anchor of each session; the oldest are forgotten first.  Safe for threads."""

    __slots__ = ("_anchors", "_lock", "_most")

    def __init__(self, most: int = MOST) -> None:
        self._anchors: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self._most = most

    def remember(self, session: bytes, anchor: bytes) -> None:
        """A full handshake has ended well; `anchor` is a root, DER."""
        with self._lock:
            while len(self._anchors) >= self._most:
                del self._anchors[next(iter(self._anchors))]
            self._anchors[session] = anchor

    def anchor(self, session: bytes) -> bytes | None:
        """What vouched for the peer of this session; None: nobody knows."""
        return self._anchors.get(session)
