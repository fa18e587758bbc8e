"""A client of HTTP/2 that does as it is told, also what no client should."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Callable, Iterable

import h2.config
import h2.connection
import h2.events

Headers = Iterable[tuple[bytes, bytes]]

_READ = 65536


class Http2:
    """One connection, over a socket that has agreed on it; whatever arrives is kept."""

    def __init__(self, sock: socket.socket) -> None:
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._sock = sock
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.status: dict[int, int] = {}
        """Of each stream that was answered."""
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.body: dict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        """Streams whose answer is complete."""
        self.reset: dict[int, int] = {}
        """Streams that were broken off, with the error code."""
        self.goodbye: int | None = None
        """The error code of GOAWAY."""
        self.closed = False
        """Whether the server has closed the connection."""

    def send(self, headers: Headers, body: bytes = b"", *, end: bool = True) -> int:
        """Begin a stream with exactly these headers; its number."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(headers), end_stream=end and not body)
        if body:
            self.write(stream, body, end=end)
        self.flush()
        return stream

    def get(self, path: bytes, *more: tuple[bytes, bytes]) -> int:
        """Begin an ordinary request; its stream."""
        return self.send((*head(b"GET", path), *more))

    def write(self, stream: int, body: bytes, *, end: bool) -> None:
        """Send a body, reading whatever arrives meanwhile, as flow control lets us."""
        rest = memoryview(body)
        while rest and stream not in self.reset:
            size = min(
                self.h2.local_flow_control_window(stream),
                self.h2.max_outbound_frame_size,
                len(rest),
            )
            if size:
                self.h2.send_data(stream, bytes(rest[:size]))
                rest = rest[size:]
                self.flush()
            elif not self.read():
                return
        if end and stream not in self.reset:
            self.h2.end_stream(stream)
            self.flush()

    def until(self, there: Callable[[], bool]) -> None:
        """Read until it is there.  Raises ConnectionError when the server closes before."""
        while not there():
            if not self.read():
                raise ConnectionError(f"the server closed: {self.__dict__}")

    def over(self, *streams: int) -> None:
        """Read until each of these is answered, broken off, or the connection is closed."""
        while not all(each in self.ended or each in self.reset for each in streams):
            if not self.read():
                return

    def read(self) -> bool:
        """Take in what has arrived; False: the server has closed."""
        self.flush()
        try:
            data = self._sock.recv(_READ)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        self.closed = not data
        if data:
            for event in self.h2.receive_data(data):
                self._heard(event)
            self.flush()
        return bool(data)

    def close(self) -> None:
        """Leave."""
        self._sock.close()

    def flush(self) -> None:
        """Send what is due."""
        data = self.h2.data_to_send()
        if data:
            self._sock.sendall(data)

    def _heard(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                self.headers[stream] = dict(headers)
                self.status[stream] = int(self.headers[stream][b":status"])
            case h2.events.DataReceived(stream_id=stream):
                self.body[stream] += event.data or b""
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            case h2.events.StreamEnded(stream_id=stream):
                self.ended.add(stream)
            case h2.events.StreamReset(stream_id=stream):
                self.reset[stream] = int(event.error_code or 0)
            case h2.events.ConnectionTerminated():
                self.goodbye = int(event.error_code or 0)


def head(
    method: bytes, path: bytes, authority: bytes = b"backend", scheme: bytes = b"https"
) -> list[tuple[bytes, bytes]]:
    """The pseudo-headers of a request."""
    return [
        (b":method", method),
        (b":scheme", scheme),
        (b":authority", authority),
        (b":path", path),
    ]
