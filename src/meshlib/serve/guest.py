"""
A connection of gunicorn's threads, and what can be done with it while it has none.

Nothing here blocks: each step takes what has arrived, and says what is missing.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from typing import Any, Protocol

from gunicorn import http as gunicorn_http
from gunicorn import sock as gunicorn_sock
from gunicorn.workers.gthread import TConn

from meshlib.serve.options import PeerLimits
from meshlib.serve.plaintext import is_handshake

_END_OF_HEAD = b"\r\n\r\n"
_LINGER = 2.0
"""Seconds a peer has to close its half: gunicorn's."""
_DRAINED = 65536
"""Bytes it may still send in that time: gunicorn's."""


class EdgeSocket(socket.socket):
    """A connection accepted by the edge listener."""


class EdgeTlsSocket(ssl.SSLSocket):
    """The same, with TLS."""


class PlainSocket(socket.socket):
    """A connection without TLS on the mesh's own listener, where that is accepted."""


class Lenient(Protocol):
    """Whether there is plaintext besides TLS at this moment, and how it is served."""

    config: Any
    """gunicorn's settings for it."""

    @property
    def accepted(self) -> bool:
        """At this moment."""


class Guest(TConn):  # type: ignore[misc]
    """A connection, and how far it has got without a thread of its own."""

    lenient: Lenient | None = None
    """None: there is only TLS, or the listener is the edge's."""

    def __init__(self, cfg: Any, sock: Any, client: Any, server: Any, limits: PeerLimits) -> None:
        super().__init__(cfg, sock, client, server)
        self.sock: Any
        self.limits = limits
        self.wants = selectors.EVENT_READ
        self.deadline = time.monotonic() + (limits.handshake if cfg.is_ssl else limits.head)
        """Until when the present step must be done."""
        self.leaving = False
        """Whether our half is closed, and the peer's last bytes are thrown away."""
        self._head = bytearray()
        self._shaking = False
        self._drained = 0

    def advance(self) -> bool:
        """Take in what has arrived; whether a request, or what cannot be one, is there.

        Raises OSError, among it ssl.SSLError.
        """
        self.sock.settimeout(0)
        try:
            if not self.initialized:
                self._shake_hands()
            return self._take_head()
        except (BlockingIOError, ssl.SSLWantReadError):
            self.wants = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self.wants = selectors.EVENT_WRITE
        return False

    def take_ahead(self) -> None:
        """Move what TLS has already decrypted to where gunicorn looks for a next request."""
        pending = self.sock.pending() if isinstance(self.sock, ssl.SSLSocket) else 0
        if pending:
            unreader = self.parser.unreader
            unreader.unread(unreader.take_buffered() + self.sock.recv(pending))

    def leave(self) -> bool:
        """Close our half of the connection; whether the other half is still there.

        Closing all of it with bytes of the peer unread would reset it, and the peer could lose the
        end of its answer (RFC 9112 section 9.6).
        """
        self.leaving, self.wants = True, selectors.EVENT_READ
        self.deadline = time.monotonic() + _LINGER
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    def drain(self) -> bool:
        """Throw away what has arrived; whether more may come."""
        try:
            data = self.sock.recv(_DRAINED)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        self._drained += len(data)
        return bool(data) and self._drained < _DRAINED

    def set_timeout(self) -> None:
        """Begin the time in which the next request may come."""
        super().set_timeout()
        self.deadline = self.timeout

    def _shake_hands(self) -> None:
        if self.lenient is not None and not self._shaking and self.lenient.accepted:
            self._look_at_first_byte(self.lenient)
        if self.cfg.is_ssl and not self._shaking:
            self.sock = gunicorn_sock.ssl_wrap_socket(self.sock, self.cfg)
            self._shaking = True
        if self._shaking:
            self.sock.do_handshake()
        self.parser = gunicorn_http.get_parser(self.cfg, self.sock, self.client)
        self.initialized = True
        idle = self.limits.head if isinstance(self.sock, EdgeTlsSocket) else self.cfg.keepalive
        if self._shaking:
            self.deadline = time.monotonic() + idle

    def _look_at_first_byte(self, lenient: Lenient) -> None:
        first = self.sock.recv(1, socket.MSG_PEEK)
        if first and not is_handshake(first):
            self.cfg = lenient.config
            self.sock = PlainSocket(fileno=self.sock.detach())
            self.sock.settimeout(0)
            self.deadline = time.monotonic() + self.limits.head

    def _take_head(self) -> bool:
        head = self._head
        self._more(self.parser.unreader.take_buffered())
        while _END_OF_HEAD not in head and len(head) <= self.limits.head_bytes:
            data = self.sock.recv(self.limits.head_bytes)
            if not data:
                break  # the parser says what that means
            self._more(data)
        self.parser.unreader.unread(bytes(head))
        too_large = len(head) > self.limits.head_bytes and _END_OF_HEAD not in head
        head.clear()
        if too_large:
            raise HeadTooLargeError
        return True

    def _more(self, data: bytes) -> None:
        if data and not self._head:
            self.deadline = min(self.deadline, time.monotonic() + self.limits.head)
        self._head += data


class HeadTooLargeError(Exception):
    """The headers of a request go on and on."""
