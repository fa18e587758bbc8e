"""
One RPC in the stack's words: its shape, its metadata, and the messages it sends.

An RPC is a `Call` with the method POST, the path `/package.Service/Method` and the metadata as
headers, as it is in HTTP/2; values of `-bin` keys are base64, as on the wire.  What HTTP has no
word for travels in its body.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from multidict import CIMultiDict

from meshlib.context import CREDIT, DEADLINE, EXPECTED
from meshlib.model import Attempt

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
"""As grpcio has it: values of keys that end in `-bin` are bytes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which side sends how many messages."""

    name: str
    """grpcio's name of it."""
    streams_requests: bool = False
    streams_responses: bool = False


UNARY_UNARY = Shape("unary_unary")
UNARY_STREAM = Shape("unary_stream", streams_responses=True)
STREAM_UNARY = Shape("stream_unary", streams_requests=True)
STREAM_STREAM = Shape("stream_stream", streams_requests=True, streams_responses=True)


class Message:
    """A body of one serialized message: it can be sent again, and side by side."""

    __slots__ = ("content", "handle", "shape", "wishes")

    replayable = True
    failure: BaseException | None = None

    def __init__(self, content: bytes, shape: Shape, wishes: dict[str, Any], handle: Any) -> None:
        self.content, self.shape, self.wishes = content, shape, wishes
        self.handle = handle
        """Through which the caller cancels, and hears of an answer before it is whole; or None."""

    @property
    def whole(self) -> bool:
        """Whether it may be mirrored and hedged: one message, and one is the answer."""
        return not self.shape.streams_responses


class InvalidMetadata(ValueError):
    """HTTP/2 has no way to say it."""


def told(metadata: Iterable[tuple[str, str | bytes]] | None) -> CIMultiDict[str]:
    """A user's metadata as headers.

    Raises InvalidMetadata for what grpcio takes for that, and TypeError where it does.
    """
    headers: CIMultiDict[str] = CIMultiDict()
    for key, value in metadata or ():
        if not _KEY(key):
            raise InvalidMetadata(key)
        if key.endswith("-bin"):
            if not isinstance(value, bytes):
                words = f"Binary metadata key={key!r} expected bytes, got {type(value)}"
                raise TypeError(words)
            headers.add(key, _text(key, value))
            continue
        text = value if isinstance(value, str) else value.decode("latin-1")
        if not _VALUE(text):
            raise InvalidMetadata(key)
        headers.add(key, text)
    return headers


_KEY = re.compile(r"[0-9a-z_.-]+").fullmatch
_VALUE = re.compile(r"[ -~]*").fullmatch
"""As gRPC has them (doc/PROTOCOL-HTTP2.md): names are lower case, values printable ASCII."""


def headers_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> CIMultiDict[str]:
    """Metadata as headers."""
    headers: CIMultiDict[str] = CIMultiDict()
    for key, value in metadata or ():
        headers.add(key, value if isinstance(value, str) else _text(key, value))
    return headers


def said(attempt: Attempt) -> list[tuple[str, str]]:
    """What an attempt says: the call's headers as the route wants them, and its own.

    But for its time, which is said as gRPC says it, in `grpc-timeout`.
    """
    call = attempt.call
    headers = call.headers if call.sent_headers is None else call.sent_headers
    pairs = [(key.lower(), value) for key, value in headers.items()] if headers else []
    kept = [pair for pair in pairs if pair[0] not in _NOT_SENT]
    ours = attempt.headers.items()
    return kept + [(key.lower(), value) for key, value in ours if key not in _TIME]


def metadata_of(attempt: Attempt) -> Metadata:
    """The same for grpcio."""
    return with_bytes(said(attempt))


def with_bytes(pairs: Iterable[tuple[str, str]]) -> Metadata:
    """Metadata whose binary values are base64, as it is meant."""
    return [(key, _binary(value) if key.endswith("-bin") else value) for key, value in pairs]


def raw_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[bytes, bytes]]:
    """Metadata as raw headers."""
    return [
        (key.encode(), value.encode() if isinstance(value, str) else value)
        for key, value in metadata or ()
    ]


def from_raw(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str | bytes]]:
    """Raw headers as metadata."""
    return [
        (key, value if key.endswith("-bin") else value.decode("latin-1"))
        for key, value in ((name.decode("ascii").lower(), value) for name, value in raw)
    ]


def shown(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """Metadata as the user sees it: without what the mesh says to itself."""
    return tuple(pair for pair in metadata if pair[0] != CREDIT)


_NOT_SENT = frozenset({"host", "content-type", "content-length", "te", "user-agent"})
"""What HTTP/2 and grpcio say by themselves: a route's change of the host, an answer's headers."""
_TIME = frozenset({DEADLINE, EXPECTED})


def _text(key: str, value: bytes) -> str:
    if key.endswith("-bin"):
        return base64.b64encode(value).decode().rstrip("=")
    return value.decode("ascii")


def _binary(text: str) -> bytes:
    """Base64 with or without its padding; what is neither is taken as it is."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return text.encode("latin-1", "replace")
