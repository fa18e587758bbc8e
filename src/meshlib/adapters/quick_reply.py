"""
A small reply, read from the socket itself.

http.client makes two files of a socket before it reads the first byte.  What it would have said of
a plain head and the few bytes that follow is said here without; anything else is handed to it, with
what was read of it in front.
"""

from __future__ import annotations

import io
import re
import socket
from http.client import HTTPMessage, IncompleteRead
from typing import TYPE_CHECKING, Any, Final

from meshlib.adapters.quick_head import PlainHead, QuickResponse, plain_head

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FOLD: Final = re.compile(r"(?:(?<![ \t])[ \t]+)?\r\n[ \t]+")
"""A value that goes on in the next line; a client is to read it as a space (RFC 9112, 5.2)."""
_PART: Final = 16 * 1024
"""What a TLS record holds at most: more does not come at a time."""


def first_of(sock: socket.socket) -> tuple[bytes, PlainHead | None]:
    """Wait for what comes first; None if it does not begin with a plain head.  Raises OSError."""
    seen = sock.recv(_PART)
    return seen, plain_head(seen)


def rest_of(sock: socket.socket, first: bytes, length: int) -> bytes:
    """A body of so many bytes that begins with `first`.  Raises OSError, IncompleteRead."""
    parts, missing = [first], length - len(first)
    while missing > 0:
        part = sock.recv(missing)
        if not part:
            raise IncompleteRead(b"".join(parts), missing)
        parts.append(part)
        missing -= len(part)
    return first if len(parts) == 1 else b"".join(parts)


def response_after(seen: bytes, sock: socket.socket, method: str) -> QuickResponse:
    """http.client's own response.  Raises HTTPException, OSError."""
    response = QuickResponse(_Again(seen, sock), method=method)  # type: ignore[arg-type]  # all it asks for is a file
    try:
        response.begin()
    except BaseException:
        response.close()  # it has a file of the socket, which would be closed late
        raise
    _unfold(response.msg)
    return response


def _unfold(message: HTTPMessage) -> None:
    fields = message.items()
    if any("\r\n" in value for _, value in fields):
        for name in message.keys():  # noqa: SIM118 - a message is no mapping: it iterates otherwise
            del message[name]
        for name, value in fields:
            message[name] = _FOLD.sub(" ", value)


class _Again:
    """A socket of which some bytes are read once more."""

    def __init__(self, seen: bytes, sock: socket.socket) -> None:
        self._seen, self._sock = seen, sock

    def makefile(self, _: str) -> io.BufferedReader:
        # all that was seen is to be in the buffer: a websocket looks nowhere else
        size = max(len(self._seen), io.DEFAULT_BUFFER_SIZE)
        return io.BufferedReader(_Raw(self._seen, self._sock), size)


class _Raw(io.RawIOBase):
    def __init__(self, seen: bytes, sock: socket.socket) -> None:
        super().__init__()
        self._seen, self._raw = seen, sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> Any:
        """First what was seen.  Raises OSError."""
        if not self._seen:
            return self._raw.readinto(buffer)
        target = memoryview(buffer).cast("B")
        size = min(len(self._seen), len(target))
        target[:size], self._seen = self._seen[:size], self._seen[size:]
        return size

    def close(self) -> None:
        """Give the socket up."""
        self._raw.close()
        super().close()
