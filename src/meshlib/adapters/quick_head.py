"""
The head of a reply, read at once where it is plain to see what it says.

http.client hands every head to the parser of e-mails, which costs more than the rest of the reply.
Of a head that is all there and could not be simpler (HTTP/1.1, visible ASCII, one Content-Length)
the same is told by one regular expression a line; any other is http.client's, with nothing of it
consumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse, RemoteDisconnected, parse_headers
from typing import Any, Final, NamedTuple

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})((?: [\x21-\x7e][\x20-\x7e]*)?)", re.ASCII)
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e]*)", re.ASCII)
"""A field line as RFC 9112 (5) has it, less obs-text, which http.client may take apart."""
_MOST: Final = 90
"""Fields; http.client refuses a head of more than a hundred lines, and is to say so itself."""
_DIGITS: Final = 15
"""Of a length that anybody means."""
_OF_CONNECTION: Final = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"upgrade"})
_WITHOUT_BODY: Final = frozenset({204, 304})
_BLANK: Final = (b"\r\n", b"\n")
_HALF: Final = "Remote end closed connection in the middle of a head"
_INTERIM: Final = 64
"""Answers of status 1xx before the real one; nobody has that much to say ahead of it."""


class PlainHead(NamedTuple):
    """A head that could not be simpler."""

    status: int
    reason: str
    raw: list[tuple[bytes, bytes]]
    """Its fields in their order; ASCII."""
    length: int
    """What the one Content-Length says."""
    size: int
    """Bytes, of the head itself."""

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The same as text."""
        return [(name.decode("ascii"), value.decode("ascii")) for name, value in self.raw]

    def body_of(self, method: str | None) -> int:
        """Bytes that follow, if this answers `method`."""
        nothing = self.status in _WITHOUT_BODY or method == "HEAD"
        return 0 if nothing else self.length


def plain_head(seen: bytes) -> PlainHead | None:
    """The head that `seen` begins with; None if it is not all there or not plain."""
    end = seen.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = seen[:end].split(b"\r\n")
    status = _STATUS.fullmatch(first)
    raw = _fields(lines)
    length = None if raw is None else _length(raw)
    if status is None or raw is None or length is None:
        return None
    return PlainHead(int(status[1]), status[2].decode("ascii").strip(), raw, length, end + 4)


class QuickResponse(HTTPResponse):
    """http.client's own, which looks at what has come before it asks the parser of e-mails."""

    fp: Any
    _method: str | None

    def begin(self) -> None:
        """Read the head.  Raises what http.client raises, also for half a head."""
        if vars(self)["headers"] is not None or self._begun():
            return
        lines = _Lines(self.fp)
        self.fp = lines
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = lines.file
        if lines.last not in _BLANK:  # http.client takes the end of the connection for one
            raise RemoteDisconnected(_HALF)

    def _read_status(self) -> tuple[str, int, str]:
        """The first line of the reply itself.

        http.client takes 103 (Early Hints) for the reply, and what follows it for the reply to the
        next request (RFC 9110, 15.2: a client must be able to parse one or more of them).
        """
        for _ in range(_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed has it not
            if status == HTTPStatus.SWITCHING_PROTOCOLS or status >= HTTPStatus.OK:
                return version, status, reason
            parse_headers(self.fp)
        message = f"more than {_INTERIM} interim responses"
        raise HTTPException(message)

    def _begun(self) -> bool:
        """Whether the head was plain, and has been read."""
        head = plain_head(self.fp.peek())
        if head is None:
            return False
        self.fp.read(head.size)
        self._is(head)
        return True

    def _is(self, head: PlainHead) -> None:
        """Say what `http.client.HTTPResponse.begin` would have said."""
        self.code = self.status = head.status
        self.reason, self.version = head.reason, 11
        self.headers = self.msg = message_of(head.fields)
        self.chunked, self.chunk_left, self.will_close = False, None, False
        self.length = head.body_of(self._method)


class _Lines:
    """A file that knows which line was read last."""

    def __init__(self, file: Any) -> None:
        self.file, self.last = file, b""

    def readline(self, limit: int) -> bytes:
        self.last = self.file.readline(limit)
        return self.last

    def close(self) -> None:
        self.file.close()


def message_of(fields: Iterable[tuple[str, str]]) -> HTTPMessage:
    """A message that says what the fields say, in their order."""
    message = HTTPMessage()
    for name, value in fields:
        message.set_raw(name, value)
    return message


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]] | None:
    """Name and value of each line, or None if one of them is anything but simple."""
    found = [_FIELD.fullmatch(line) for line in lines]
    if len(lines) > _MOST or None in found:
        return None
    return [(each[1], each[2]) for each in found if each]


def _length(raw: list[tuple[bytes, bytes]]) -> int | None:
    """What the one Content-Length says, or None where it is not that which ends the body."""
    names = [name.lower() for name, _ in raw]
    if names.count(b"content-length") != 1 or not _OF_CONNECTION.isdisjoint(names):
        return None
    length = raw[names.index(b"content-length")][1]
    return int(length) if length.isdigit() and len(length) <= _DIGITS else None
