"""Raw requests, one after the other on one connection, for as long as its server keeps it."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress

from meshlib.testing.evil import dial

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


class Kept:
    """Says bytes as one client of one server; `made` counts the connections that took.

    A connection is used again only if the last answer on it says where it ends and not that it is
    the last: every request but the first of a connection follows one that was answered in full.
    """

    def __init__(self, address: tuple[str, int], client: ssl.SSLContext) -> None:
        self._address, self._client = address, client
        self._tls: ssl.SSLSocket | None = None
        self.made = 0

    def say(self, request: bytes) -> bytes:
        """The answer, as far as it tells its length; nothing, if a new connection brings nothing.

        A server may end a connection at rest whenever it likes, so that silence on an old one is
        asked about again.
        """
        kept = self._tls is not None
        answer = self._exchanged(request)
        return self._exchanged(request) if kept and not answer else answer

    def close(self) -> None:
        """Leave; the next request makes a connection anew."""
        if self._tls is not None:
            self._tls.close()
            self._tls = None

    def _exchanged(self, request: bytes) -> bytes:
        tls = self._tls or self._connected()
        answer, whole = b"", False
        with suppress(OSError):
            tls.sendall(request)
            answer, whole = _answer(tls)
        if not whole:
            self.close()
        return answer

    def _connected(self) -> ssl.SSLSocket:
        self.made += 1
        self._tls = self._client.wrap_socket(dial(self._address), server_hostname="me")
        return self._tls


def _answer(tls: socket.socket) -> tuple[bytes, bool]:
    """What was said, and whether that was all of it and another request may follow."""
    heard = bytearray()
    while _END not in heard:
        if not (part := tls.recv(65536)):
            return bytes(heard), False
        heard += part
    head = heard[: heard.index(_END) + len(_END)]
    length = _LENGTH.search(head)
    if length is None or _CLOSE.search(head):
        return bytes(heard), False
    whole = len(head) + int(length[1])
    while len(heard) < whole and (part := tls.recv(65536)):
        heard += part
    return bytes(heard), len(heard) == whole
