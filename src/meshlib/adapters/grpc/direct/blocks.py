"""
Header blocks (HPACK, RFC 7541) without the dynamic table, in either direction.

What is sent refers to the static table only; what comes may, as this side allows a dynamic table of
no bytes.  So a block means the same whenever it comes, and those that servers repeat, which is most
of them, are decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

from hpack import Decoder, HPACKError

from meshlib.adapters.grpc.direct.errors import BrokenProtocol, Code

Pairs: TypeAlias = tuple[tuple[str, str], ...]

LARGEST_LIST = 64 * 1024
"""Bytes of headers in one block, counted as in RFC 9113, 6.5.2."""
_REPEATED = 512
"""Bytes of the largest block worth remembering."""
_POST, _HTTPS = b"\x83", b"\x87"
_AUTHORITY, _PATH, _CONTENT_TYPE, _USER_AGENT = 1, 4, 31, 58
"""In the static table (RFC 7541, appendix A)."""
_KEY = re.compile(r"[0-9a-z_.\-]+")


@lru_cache(maxsize=1024)
def opening(authority: str, path: str, agent: str) -> bytes:
    """The part of a request's block that all calls of one method have in common."""
    return b"".join(
        (
            _POST,
            _HTTPS,
            _indexed(_PATH, path),
            _indexed(_AUTHORITY, authority),
            literal("te", "trailers"),
            _indexed(_CONTENT_TYPE, "application/grpc"),
            _indexed(_USER_AGENT, agent),
            literal("grpc-accept-encoding", "identity, deflate, gzip"),
        )
    )


def literal(key: str, value: str) -> bytes:
    """One header, indexed nowhere."""
    if len(value) < 127:
        return _name(key) + bytes((len(value),)) + value.encode("ascii")
    return _name(key) + _string(value)


def told(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Metadata as a part of a block.  Raises ValueError for what HTTP/2 cannot say, as grpcio."""
    block = b""
    for key, value in pairs:
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"metadata was invalid: {[(key, value)]}")
        block += literal(key, value)
    return block


def timeout(seconds: float) -> bytes:
    """The header that says how long the call may take: at most eight digits and a unit."""
    micros = max(int(seconds * 1e6), 1)
    if micros < 10**8:
        return literal("grpc-timeout", f"{micros}u")
    millis = micros // 1000
    said = f"{millis}m" if millis < 10**8 else f"{min(millis // 1000, 10**8 - 1)}S"
    return literal("grpc-timeout", said)


def decoded(block: bytes) -> Pairs:
    """The headers of a block.  Raises BrokenProtocol."""
    return _repeated(block) if len(block) <= _REPEATED else _decoded(block)


def _decoded(block: bytes) -> Pairs:
    decoder = Decoder(LARGEST_LIST)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        found = decoder.decode(block, raw=True)
        return tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in found)
    except (HPACKError, UnicodeDecodeError) as exc:
        raise BrokenProtocol(Code.COMPRESSION_ERROR, f"headers that mean nothing: {exc}") from exc


_repeated = lru_cache(maxsize=1024)(_decoded)


@lru_cache(maxsize=1024)
def _name(key: str) -> bytes:
    if not _KEY.fullmatch(key):
        raise ValueError(f"metadata was invalid: {key!r} is no key")
    return b"\x00" + _string(key)


def _indexed(index: int, value: str) -> bytes:
    return _integer(index, 4) + _string(value)


def _string(text: str) -> bytes:
    data = text.encode("ascii")
    return _integer(len(data), 7) + data


def _integer(value: int, bits: int) -> bytes:
    """As RFC 7541, 5.1, with the bits before it zero."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    rest, made = value - most, bytearray((most,))
    while rest >= 128:
        made.append(rest % 128 + 128)
        rest //= 128
    made.append(rest)
    return bytes(made)
