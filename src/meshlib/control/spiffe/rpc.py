"""
One gRPC call that streams answers, over h2 and a blocking socket.

grpcio is not used: its core has threads of its own that a fork leaves behind, and a pre-fork server
forks while the stream is open.  What the call needs of gRPC fits here: a method is a path, a
message is its length and its bytes, and the status is a trailer
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

CHUNK = 65536
LARGEST = 4 << 20
"""Bytes of one message, gRPC's own default."""
_PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""
_EMPTY = bytes(_PREFIX)


class Status(IntEnum):
    """The codes of gRPC that mean something here."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class RpcFailed(Exception):
    """The call ended, well or badly: `status` is gRPC's code, perhaps one not named here."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def stream(
    sock: socket.socket, path: str, headers: Iterable[tuple[str, str]], idle: Callable[[], None]
) -> Iterator[bytes]:
    """Call `path` with an empty message and yield what comes, until RpcFailed or OSError.

    `idle` is called whenever the socket's time-out passes without a word.
    """
    call = _Call(sock, path, headers)
    while True:
        try:
            data = sock.recv(CHUNK)
        except TimeoutError:
            idle()
            continue
        if not data:
            raise RpcFailed(Status.UNAVAILABLE, "it closed the connection")
        yield from call.received(data)


class _Call:
    def __init__(self, sock: socket.socket, path: str, headers: Iterable[tuple[str, str]]) -> None:
        self._sock, self._buffer = sock, bytearray()
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        asked = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "meshlib"),
            *headers,
        ]
        self._h2.send_headers(1, asked)
        self._h2.send_data(1, _EMPTY, end_stream=True)
        self._flush()

    def received(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete with `data`."""
        try:
            for event in self._h2.receive_data(data):
                yield from self._on(event)
        except ProtocolError as exc:
            raise RpcFailed(Status.INTERNAL, f"it does not speak HTTP/2: {exc}") from exc
        finally:
            self._flush()

    def _on(self, event: Event) -> Iterator[bytes]:
        match event:
            case ResponseReceived():
                _check_headers(_text(event.headers))
            case TrailersReceived():
                _check_end(_text(event.headers))
            case DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                yield from self._messages(event.data or b"")
            case StreamEnded():
                raise RpcFailed(Status.UNKNOWN, "the stream ended without a status")
            case StreamReset() | ConnectionTerminated():
                code = int(event.error_code or 0)
                name = ErrorCodes(code).name if code in set(ErrorCodes) else f"error {code}"
                raise RpcFailed(Status.UNAVAILABLE, f"it broke the stream off: {name}")

    def _messages(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _PREFIX:
            size = int.from_bytes(buffer[1:_PREFIX])
            if buffer[0] or size > LARGEST:
                what = "compressed" if buffer[0] else f"of {size} bytes"
                raise RpcFailed(Status.INTERNAL, f"it sent a message {what}")
            if len(buffer) < _PREFIX + size:
                return
            yield bytes(buffer[_PREFIX : _PREFIX + size])
            del buffer[: _PREFIX + size]

    def _flush(self) -> None:
        if waiting := self._h2.data_to_send():
            self._sock.sendall(waiting)


def _text(headers: Iterable[tuple[bytes, bytes]] | None) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers or ()}


def _check_headers(headers: dict[str, str]) -> None:
    """Raise RpcFailed unless they begin an answer."""
    if "grpc-status" in headers:
        _check_end(headers)
    if headers.get(":status") != "200" or not headers.get("content-type", "").startswith(
        "application/grpc"
    ):
        found = f"status {headers.get(':status')} and {headers.get('content-type', 'no type')}"
        raise RpcFailed(Status.UNAVAILABLE, f"it speaks HTTP, not gRPC: {found}")


def _check_end(trailers: dict[str, str]) -> None:
    """Raise RpcFailed with the status."""
    code, text = trailers.get("grpc-status", ""), unquote(trailers.get("grpc-message", ""))
    known = code.isascii() and code.isdecimal()
    raise RpcFailed(int(code) if known else Status.UNKNOWN, text or "it gave no reason")
