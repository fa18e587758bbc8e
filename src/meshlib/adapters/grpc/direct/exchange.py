"""
One unary RPC: what is still to be sent, and what has come.

A message is five bytes, whether it is compressed and its length, and its own
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md); the status is in the trailers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

from grpc import StatusCode

from meshlib.adapters.grpc.direct.blocks import Pairs
from meshlib.adapters.grpc.direct.errors import RESET
from meshlib.adapters.grpc.rpc import Metadata, with_bytes
from meshlib.adapters.grpc.status import BY_NUMBER, code_of_http

PREFIX = 5
_NOT_SHOWN = frozenset(
    {
        ":status",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-message",
        "grpc-status",
    }
)
"""What gRPC says by them is said by other means."""
_NOT_ONE = "the server did not send exactly one message"
_WBITS = {"gzip": 31, "deflate": 15}
"""zlib's words for gRPC's encodings."""


class Exchange:
    """See the module.  `block` is its header block, `largest` the bytes of an answer it takes."""

    __slots__ = (
        "_body",
        "_largest",
        "block",
        "code",
        "content",
        "details",
        "done",
        "error",
        "head",
        "left",
        "on_done",
        "on_head",
        "stream",
        "tail",
        "taken",
        "tick",
        "window",
    )

    def __init__(self, block: bytes, message: bytes, largest: int) -> None:
        self.block = block
        self.left: bytes | memoryview = b"\x00" + len(message).to_bytes(4) + message
        """What of the message is not sent yet."""
        self.stream = 0
        """Its number; 0 while it waits for one."""
        self.window = 0
        """Bytes that the peer takes of it."""
        self.taken = 0
        """Bytes that came and were not granted anew."""
        self.head: Pairs | None = None
        """The headers of the answer, when they came, and the trailers."""
        self.tail: Pairs = ()
        self.content = b""
        self.code: StatusCode | None = None
        """How the server, or the stream, ended it; None if only the connection did."""
        self.details = ""
        self.error: BaseException | None = None
        """What ended it instead."""
        self.done = False
        self.tick = 0.1
        """Seconds at most until the thread that waits for it, and reads for all, hears that nobody
        wants it any more."""
        self.on_done: Callable[[], None] | None = None
        self.on_head: tuple[Callable[[], None], ...] = ()
        self._body: bytes | bytearray = b""
        self._largest = largest

    @property
    def initial(self) -> Metadata:
        """The initial metadata."""
        return _metadata(self.head or ())

    @property
    def trailing(self) -> Metadata:
        """The trailing metadata."""
        return _metadata(self.tail)

    def heard(self, pairs: Pairs, *, last: bool) -> bool:
        """Headers have come: the answer's, or its trailers; False: what follows is not wanted."""
        if last:
            self.tail = pairs
            if self.head is None:  # then there is nothing else
                self.head = ()
            self._ended()
            return True
        if pairs and pairs[0][0] == ":status" and pairs[0][1].startswith("1"):
            return True  # an interim answer
        self.head = pairs
        foreign = _foreign(pairs)
        if foreign is not None:
            self._finish(*foreign)
        for tell in self.on_head:
            tell()
        return foreign is None

    def received(self, data: bytes, *, last: bool) -> bool:
        """A part of the message has come; False: it is more than is wanted."""
        if self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        else:
            self._body = data
        if len(self._body) >= PREFIX and not self._fits():
            return False
        if last:
            self._ended()
        return True

    def reset(self, code: int) -> None:
        """The peer has broken it off."""
        self._finish(
            RESET.get(code, StatusCode.INTERNAL), f"Received RST_STREAM with error code {code}"
        )

    def fail(self, error: BaseException) -> None:
        """The connection has ended before it, or never took it."""
        if not self.done:
            self.error = error
            self._finish(None, "")

    def _fits(self) -> bool:
        size = int.from_bytes(self._body[1:PREFIX])
        if 0 <= self._largest < size:
            words = f"CLIENT: Received message larger than max ({size} vs. {self._largest})"
            self._finish(StatusCode.RESOURCE_EXHAUSTED, words)
        elif len(self._body) > PREFIX + size:
            self._finish(StatusCode.INTERNAL, _NOT_ONE)
        return not self.done

    def _ended(self) -> None:
        """The stream is at its end: what it comes to."""
        said = dict(self.tail)
        number = said.get("grpc-status")
        if number is None:
            self._finish(*_without_status(dict(self.head or ()) | said))
            return
        code = BY_NUMBER.get(number, StatusCode.UNKNOWN)
        if code is not StatusCode.OK:
            self._finish(code, unquote(said.get("grpc-message", "")))
            return
        try:
            self.content = self._message()
        except ValueError as exc:
            self._finish(StatusCode.INTERNAL, str(exc))
        except _TooLarge as exc:
            self._finish(StatusCode.RESOURCE_EXHAUSTED, str(exc))
        else:
            self._finish(code, unquote(said.get("grpc-message", "")))

    def _message(self) -> bytes:
        """The one message.  Raises ValueError."""
        body = self._body
        if len(body) < PREFIX or len(body) != PREFIX + int.from_bytes(body[1:PREFIX]):
            raise ValueError(_NOT_ONE)
        message = bytes(body[PREFIX:])
        return self._inflated(message) if body[0] else message

    def _inflated(self, data: bytes) -> bytes:
        name = dict(self.head or ()).get("grpc-encoding", "")
        if name not in _WBITS:
            raise ValueError(f"a message is compressed by {name or 'what was not said'}")
        limit = self._largest + 1 if self._largest >= 0 else 0
        inflater = zlib.decompressobj(_WBITS[name])
        try:
            made = inflater.decompress(data, limit)
        except zlib.error as exc:
            raise ValueError(f"a message is not {name}: {exc}") from exc
        if limit and len(made) == limit:
            raise _TooLarge(f"CLIENT: Decompressed message larger than max ({self._largest})")
        if not inflater.eof:
            raise ValueError(f"a message is not {name}: it has no end")
        return made

    def _finish(self, code: StatusCode | None, details: str) -> None:
        if self.done:
            return
        self.code, self.details, self.done = code, details, True
        self.left = b""
        for tell in self.on_head:
            tell()
        if self.on_done is not None:
            self.on_done()


class _TooLarge(Exception):
    """More than is wanted."""


@lru_cache(maxsize=1024)
def _metadata(pairs: Pairs) -> Metadata:
    """What a block says besides what is gRPC's own; most blocks are the same again and again."""
    return tuple(with_bytes(pair for pair in pairs if pair[0] not in _NOT_SHOWN))


def _foreign(pairs: Pairs) -> tuple[StatusCode, str] | None:
    """What an answer stands for, if it is none of gRPC's."""
    said = dict(pairs)
    if said.get(":status") != "200":
        return _without_status(said)
    kind = said.get("content-type", "")
    if kind.startswith("application/grpc"):
        return None
    return StatusCode.UNKNOWN, f"unexpected content-type: {kind or 'none'}"


def _without_status(said: dict[str, str]) -> tuple[StatusCode, str]:
    """What an answer without `grpc-status` stands for."""
    status = said.get(":status", "")
    if status == "200":
        return StatusCode.UNKNOWN, "the server ended the call without a status"
    number = int(status) if status.isdecimal() else 0
    return code_of_http(number), f"Received http2 header with status: {status or 'none'}"
