"""
The messages of the Workload API, in protobuf's wire format.  Pure.

    message X509SVIDResponse { repeated X509SVID svids = 1; repeated bytes crl = 2;
                               map<string, bytes> federated_bundles = 3; }
    message X509SVID { string spiffe_id = 1; bytes x509_svid = 2; bytes x509_svid_key = 3;
                       bytes bundle = 4; string hint = 5; }

Two messages of strings and bytes need no generated code, nor the runtime it would be tied to.  The
format is that of https://protobuf.dev/programming-guides/encoding: unknown fields are skipped, and
of a field that may stand once the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MAX_VARINT = 10
"""Bytes of a 64-bit number."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SVIDS, _FEDERATED = 1, 3
_ID, _CHAIN, _KEY, _BUNDLE, _HINT = 1, 2, 3, 4, 5


class Unreadable(ValueError):
    """Bytes that are no such message."""


@dataclass(frozen=True, slots=True)
class SvidMessage:
    """One identity, as it was sent."""

    spiffe_id: str = ""
    chain: bytes = b""
    """Certificates in DER, one after the other, the leaf first."""
    key: bytes = field(default=b"", repr=False)
    """PKCS #8 in DER."""
    bundle: bytes = b""
    """The roots of its own trust domain in DER, one after the other."""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SvidResponse:
    """All identities of this process, and the trust domains its own is federated with."""

    svids: tuple[SvidMessage, ...] = ()
    federated: Mapping[str, bytes] = field(default_factory=dict)
    """Roots as in `SvidMessage.bundle`, by the SPIFFE id of the trust domain."""


def decode(data: bytes) -> SvidResponse:
    """Read a response.  Raises Unreadable.  Revocation lists are passed over, as by go-spiffe."""
    svids: list[SvidMessage] = []
    federated: dict[str, bytes] = {}
    for number, value in _fields(data):
        if number == _SVIDS:
            svids.append(_svid(value))
        elif number == _FEDERATED:
            entry = dict(_fields(value))
            federated[_text(entry.get(1, b""))] = entry.get(2, b"")
    return SvidResponse(tuple(svids), federated)


def encode(response: SvidResponse) -> bytes:
    """The reverse of `decode`: what a server sends."""
    svids = b"".join(_field(_SVIDS, _encoded(each)) for each in response.svids)
    entries = (
        _field(1, name.encode()) + _field(2, roots) for name, roots in response.federated.items()
    )
    return svids + b"".join(_field(_FEDERATED, entry) for entry in entries)


def _svid(data: bytes) -> SvidMessage:
    said = dict(_fields(data))
    return SvidMessage(
        _text(said.get(_ID, b"")),
        said.get(_CHAIN, b""),
        said.get(_KEY, b""),
        said.get(_BUNDLE, b""),
        _text(said.get(_HINT, b"")),
    )


def _encoded(svid: SvidMessage) -> bytes:
    parts = (svid.spiffe_id.encode(), svid.chain, svid.key, svid.bundle, svid.hint.encode())
    return b"".join(_field(number, part) for number, part in enumerate(parts, 1) if part)


def _field(number: int, value: bytes) -> bytes:
    return _written(number << 3 | _BYTES) + _written(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of the fields of bytes; those of numbers are passed over."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Unreadable("a field with the number 0")
        if kind == _VARINT:
            _, at = _varint(data, at)
            continue
        size, at = _size(kind, data, at)
        if size > len(data) - at:
            raise Unreadable(f"field {number} is cut short")
        if kind == _BYTES:
            yield number, data[at : at + size]
        at += size


def _size(kind: int, data: bytes, at: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(data, at)
    if kind in {_FIXED64, _FIXED32}:
        return (8 if kind == _FIXED64 else 4), at
    raise Unreadable(f"a field of the unknown wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next thing begins."""
    value = 0
    for count, byte in enumerate(data[at : at + MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise Unreadable("a number without an end")


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise Unreadable(f"{data[:40]!r} is not UTF-8") from exc
