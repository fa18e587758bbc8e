"""
TLS over a socket that never blocks.

`ssl.SSLSocket` may not be read and written by two threads at once; here the waiting is outside, on
the plain socket, and what TLS does with the bytes takes no time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

_PIECE = 64 * 1024
"""Bytes read at a time; for more of them the allocator asks the kernel, each time."""
_LATER = (BlockingIOError, InterruptedError)
_WRONG_PROTOCOL = "http/1.1"


class Tunnel:
    """Of a connected socket, which is the tunnel's from now on.  Not for several threads at once.

    Everything raises OSError (`ssl.SSLError` is one) when the connection fails.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(False)  # noqa: FBT003 - socket's own signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)
        self._waiting: bytes | memoryview = b""
        self._ended = False

    def fileno(self) -> int:
        """The socket's descriptor, to wait for."""
        return self._sock.fileno()

    @property
    def unsent(self) -> bool:
        """Whether the socket did not take everything yet."""
        return bool(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether the peer has said its last."""
        return self._ended

    def shake(self) -> bool:
        """Go on with the handshake, as far as it goes; whether it is over and the peer verified."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return False
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self._push()  # the peer is told why
            raise
        self._push()
        if self.tls.selected_alpn_protocol() == _WRONG_PROTOCOL:
            raise ConnectionError("the peer speaks HTTP/1.1, and gRPC needs HTTP/2")
        return True

    def fill(self) -> bool:
        """Take what has come, for `shake`; False: nothing has.  Raises EOFError at the end."""
        try:
            data = self._sock.recv(_PIECE)
        except _LATER:
            return False
        if not data:
            raise EOFError
        self._incoming.write(data)
        return True

    def send(self, data: bytes | bytearray) -> None:
        """Send, with what was kept; keep what the socket does not take now."""
        if data:
            self.tls.write(data)
        self._push()

    def receive(self) -> bytes:
        """What the peer said; empty: nothing now.  Raises EOFError at the end."""
        if self.ended:
            raise EOFError
        if not self.fill() and not self._incoming.pending:
            return b""
        data = self._read()
        while self._incoming.pending:
            more = self._read()
            if not more:
                break
            data += more
        if not data and self.ended:
            raise EOFError
        return data

    def _read(self) -> bytes:
        """One record of what was filled; empty: there is no whole one, or the peer has ended."""
        try:
            data: bytes = self.tls.read(_PIECE)
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                self._push()
            return b""
        except ssl.SSLZeroReturnError:
            data = b""
        self._ended |= not data
        return data

    def _push(self) -> None:
        while self._waiting or self._outgoing.pending:
            data = self._waiting or self._outgoing.read()
            try:
                sent = self._sock.send(data)
            except _LATER:
                self._waiting = data
                return
            self._waiting = memoryview(data)[sent:] if sent < len(data) else b""

    def wake(self) -> None:
        """Have whoever waits for the socket hear that it is over."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye, without waiting for an answer."""
        with contextlib.suppress(OSError):
            if not self._waiting:
                with contextlib.suppress(ssl.SSLWantReadError):
                    self.tls.unwrap()
                self._push()
        self._sock.close()
