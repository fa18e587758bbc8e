"""
A Content-Length that a reply says more than once, each time the same.

A recipient may take it for one (RFC 9110, section 8.6); h11 does, and aiohttp's parser refuses it.
Lengths that differ are left as they are: whoever parses them is to refuse the reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NAME: Final = b"content-length"
_LINES: Final = re.compile(rb"\r\ncontent-length:[ \t]*([^\r\n]*)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"


def with_one_length(said: bytes) -> bytes:
    """What a peer said, in whose first head, if that is all there, the length stands once."""
    end = said.find(_END)
    lines = list(_LINES.finditer(said, 0, max(end, 0)))
    value = _one([each[1] for each in lines])
    if value is None:
        return said
    head = bytearray(said[:end])
    for line in reversed(lines[1:]):
        del head[line.start() : line.end()]
    head[slice(*lines[0].span(1))] = value
    return bytes(head) + said[end:]


def once(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields, among which the length stands once, where it stood first."""
    value = _one([value for name, value in fields if name.lower() == _NAME])
    if value is None:
        return fields
    found = [at for at, (name, _) in enumerate(fields) if name.lower() == _NAME]
    length = (fields[found[0]][0], value)
    kept = [each for at, each in enumerate(fields) if at not in found]
    return [*kept[: found[0]], length, *kept[found[0] :]]


def _one(values: Iterable[bytes]) -> bytes | None:
    """The length that is said several times; None if it is said once, never, or differently."""
    said = [each.strip() for value in values for each in value.split(b",")]
    same = len(said) > 1 and len(set(said)) == 1 and said[0].isdigit()
    return said[0] if same else None
