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
from http.client import HTTPMessage, HTTPResponse
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})((?: [\x21-\x7e][\x20-\x7e]*)?)", re.ASCII)
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e]*)", re.ASCII)
"""A field line as RFC 9112 (5) has it, less obs-text, which http.client may take apart."""
_MOST: Final = 90
"""Fields; http.client refuses a head of more than a hundred lines, and is to say so itself."""
_DIGITS: Final = 15
"""Of a length that anybody means."""
_OF_CONNECTION: Final = frozenset({"connection", "transfer-encoding", "keep-alive", "upgrade"})
_WITHOUT_BODY: Final = frozenset({204, 304})


class QuickResponse(HTTPResponse):
    """http.client's own, which looks at what has come before it asks the parser of e-mails."""

    _method: str | None

    def begin(self) -> None:
        """Read the head.  Raises what http.client raises."""
        if vars(self)["headers"] is not None or not self._begun():
            super().begin()

    def _begun(self) -> bool:
        """Whether the head was plain, and has been read."""
        seen = self.fp.peek()
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = seen[:end].split(b"\r\n")
        status = _STATUS.fullmatch(first)
        fields = _fields(lines)
        length = None if fields is None else _length(fields)
        if status is None or fields is None or length is None:
            return False
        self.fp.read(end + 4)
        self._is(int(status[1]), status[2].decode("ascii"), fields, length)
        return True

    def _is(self, status: int, reason: str, fields: list[tuple[str, str]], length: int) -> None:
        """Say what `http.client.HTTPResponse.begin` would have said."""
        self.code = self.status = status
        self.reason, self.version = reason.strip(), 11
        self.headers = self.msg = message_of(fields)
        self.chunked, self.chunk_left, self.will_close = False, None, False
        nothing = status in _WITHOUT_BODY or self._method == "HEAD"
        self.length = 0 if nothing else length


def message_of(fields: Iterable[tuple[str, str]]) -> HTTPMessage:
    """A message that says what the fields say, in their order."""
    message = HTTPMessage()
    for name, value in fields:
        message.set_raw(name, value)
    return message


def _fields(lines: list[bytes]) -> list[tuple[str, str]] | None:
    """Name and value of each line, or None if one of them is anything but simple."""
    found = [_FIELD.fullmatch(line) for line in lines]
    if len(lines) > _MOST or None in found:
        return None
    return [(each[1].decode("ascii"), each[2].decode("ascii")) for each in found if each]


def _length(fields: list[tuple[str, str]]) -> int | None:
    """What the one Content-Length says, or None where it is not that which ends the body."""
    names = [name.lower() for name, _ in fields]
    if names.count("content-length") != 1 or not _OF_CONNECTION.isdisjoint(names):
        return None
    length = fields[names.index("content-length")][1]
    return int(length) if length.isdecimal() and len(length) <= _DIGITS else None
