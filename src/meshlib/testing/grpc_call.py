"""gRPC by hand, over whatever TLS one has: for peers that no gRPC library would let anybody be."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

_PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""


class Answer(NamedTuple):
    """What a call brought; nothing when the server hung up."""

    heard: dict[str, str]
    """Headers and trailers."""
    message: bytes

    @property
    def status(self) -> str | None:
        """gRPC's, as it was on the wire."""
        return self.heard.get("grpc-status")


class HandMade:
    """A connection over a socket that is connected, and speaks TLS if that is wanted."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._flush()

    def call(
        self, path: str, message: bytes = b"", metadata: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """One unary RPC."""
        stream = self._h2.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "me")]
        usual = [("te", "trailers"), ("content-type", "application/grpc")]
        self._h2.send_headers(stream, [*pseudo, *usual, *metadata])
        framed = b"\0" + len(message).to_bytes(_PREFIX - 1, "big") + message
        self._h2.send_data(stream, framed, end_stream=True)
        heard: dict[str, str] = {}
        data = bytearray()
        with suppress(OSError):
            self._flush()
            while part := self._sock.recv(65536):
                if self._ends(part, heard, data):
                    break
        return Answer(heard, bytes(data[_PREFIX:]))

    def _ends(self, part: bytes, heard: dict[str, str], data: bytearray) -> bool:
        ended = False
        for event in self._h2.receive_data(part):
            if isinstance(event, ResponseReceived | TrailersReceived):
                heard.update((str(name), str(value)) for name, value in event.headers or ())
            elif isinstance(event, DataReceived):
                data += event.data or b""
            ended = ended or isinstance(event, StreamEnded | StreamReset)
        self._flush()
        return ended

    def _flush(self) -> None:
        self._sock.sendall(self._h2.data_to_send())
