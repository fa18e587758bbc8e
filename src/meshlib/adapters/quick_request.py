"""
A small request, written at once where it is plain to see what urllib3 would send.

urllib3 and http.client write a request line by line and look at every word of it; that costs more
than all the mesh decides.  Of a request that could not be simpler (visible ASCII, every header
once, a body that is there and small) the same bytes are joined here; any other is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from meshlib.adapters.body import BytesBody
from meshlib.model import EMPTY_BODY, Attempt, Call

_WORD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_TARGET: Final = re.compile(r"/[\x21-\x7e]*", re.ASCII)
_VALUES: Final = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_MOST: Final = 64 * 1024
"""Bytes of a body; a larger one may have to wait for its peer, and urllib3 knows how."""


def target_on_wire(call: Call) -> str:
    """What the request line asks for."""
    path = call.path if call.sent_path is None else call.sent_path
    return f"{path}?{call.query}" if call.query else path


def quick_request(attempt: Attempt) -> bytes | None:
    """The whole request, or None if urllib3 is to write it."""
    call = attempt.call
    content = _content(call)
    headers = call.headers if call.sent_headers is None else call.sent_headers
    if content is None:
        return None
    pairs = [*headers.items(), *attempt.headers.items()]
    names = [name for name, _ in pairs]
    target = target_on_wire(call)
    if not (_plain(call.method, target) and _plain_headers(names, [value for _, value in pairs])):
        return None
    lines = [f"{name}: {value}\r\n" for name, value in pairs]
    length = _length(content, headers)
    head = f"{call.method} {target} HTTP/1.1\r\n{length}{''.join(lines)}\r\n"
    return head.encode("ascii") + content


def _content(call: Call) -> bytes | None:
    """The body, if it is small and all there."""
    body = call.body
    if body is EMPTY_BODY:
        return b""
    return body.content if isinstance(body, BytesBody) and len(body.content) <= _MOST else None


def _plain(method: str, target: str) -> bool:
    return _WORD.fullmatch(method) is not None and _TARGET.fullmatch(target) is not None


def _plain_headers(names: list[str], values: list[str]) -> bool:
    """Whether each is a word that comes once, and urllib3 neither adds nor takes away any."""
    known = {name.lower() for name in names}
    return (
        len(known) == len(names)
        and "host" in known
        and known.isdisjoint({"transfer-encoding", ""})
        # what is plain in all of them is plain in each
        and _WORD.fullmatch("".join(names)) is not None
        and _VALUES.fullmatch("".join(values)) is not None
    )


def _length(content: bytes, headers: Mapping[str, str]) -> str:
    """The line that says it, if there is something to say that no header does."""
    if not content or "content-length" in headers:
        return ""
    return f"Content-Length: {len(content)}\r\n"
