"""
One reading of a request's path, for whoever decides by it.

A rule about `/admin` is worth nothing if `/%61dmin` or `/x/../admin` reaches the same handler.  So
a rule sees the path decoded, as applications do, and a path that two programs read differently
(encoded slashes, backslashes, dot segments, empty segments, what is encoded twice) has no reading
at all: whoever decides by paths refuses it.  Consul's proxies normalise such paths instead
(CVE-2024-10005); behind a proxy that is enough, but here the application would still see the path
as it was sent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

REMEMBERED = 1024
"""Readings kept, the least recently used goes first ..."""
LONGEST_REMEMBERED = 256
"""... of targets no longer than this: no more than some hundred KiB."""

_SUSPECT = re.compile(r"[%\\]|//|/\.|[\x00-\x20\x7f-\U0010ffff]")
"""Cheap to search for; a path without any of it is its own reading."""
_AMBIGUOUS = re.compile(r"[\\\x00-\x1f\x7f]|//|/\.\.?(?:/|$)|%[0-9A-Fa-f]{2}")
_ENCODED_SLASH = re.compile(r"%(?:2f|5c)", re.IGNORECASE)
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def plain_path(target: str) -> str | None:
    """The path that a request target (without its query) means; None: there is no one reading."""
    if _SUSPECT.search(target) is None:
        return target
    return _read(target) if len(target) > LONGEST_REMEMBERED else _remembered(target)


def _read(target: str) -> str | None:
    if _ENCODED_SLASH.search(target) or _ESCAPE.search(target):
        return None
    try:
        path = unquote_to_bytes(target).decode()
    except UnicodeError:
        return None
    return None if _AMBIGUOUS.search(path) else path


_remembered = lru_cache(maxsize=REMEMBERED)(_read)
