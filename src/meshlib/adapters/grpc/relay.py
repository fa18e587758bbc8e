"""
One connection to a peer, and the unix socket by which grpcio uses it.

The peer is verified before grpcio may speak: its socket is accepted after the handshake only.  A
relay holds at most one buffer a direction, and reads no more while the other side takes nothing, so
that backpressure reaches whoever sends.  When either side ends, both are closed: HTTP/2 has no use
for half a connection.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import struct
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto
from typing import Any

from meshlib.adapters.grpc.frames import Frames

SIZE = 256 * 1024
"""Bytes moved at a time: sixteen TLS records."""
RECORD = 16 * 1024
"""Bytes at most that TLS yields at a time: what is less was the last for now."""
TURNS = 8
"""Buffers one direction may move before others get their turn."""
UP, DOWN = 1, 2
"""The directions: to the peer, and from it."""
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError, InterruptedError)
_WRONG_PROTOCOL = "http/1.1"


class Flow(Enum):
    """Why a direction stands still."""

    EMPTY = auto()
    """Its source has nothing."""
    FULL = auto()
    """Its sink takes nothing."""
    MORE = auto()
    """It does not: it has had its turn."""


class Pipe:
    """One direction.  `buffer` is shared by all: what cannot be passed on is copied out of it."""

    __slots__ = ("_buffer", "_frames", "_rest", "_sink", "_source")

    def __init__(
        self, source: Any, sink: Any, buffer: memoryview, frames: Frames | None = None
    ) -> None:
        self._source, self._sink, self._buffer = source, sink, buffer
        self._frames = frames
        self._rest: memoryview | None = None

    def move(self) -> Flow:
        """Pass on what there is.  Raises OSError when an end breaks, EOFError when one closes."""
        if self._rest is not None and not self._passed(self._rest):
            return Flow.FULL
        self._rest = None
        for _ in range(TURNS):
            size, drained = self._fill()
            if size and not self._handed_on(size):
                return Flow.FULL
            if drained:
                return Flow.EMPTY
        return Flow.MORE

    def _fill(self) -> tuple[int, bool]:
        """Read until there is no more, or no room; TLS yields a record at a time."""
        size = 0
        while size < SIZE:
            try:
                got = self._source.recv_into(self._buffer[size:])
            except _WAIT:
                return size, True
            if not got:
                if size and not self._handed_on(size):
                    return 0, True  # the other end is told of this one's by the next read
                raise EOFError
            size += got
            if got < RECORD and size < SIZE:  # all there was; if not, the selector says so
                return size, True
        return size, False

    def _handed_on(self, size: int) -> bool:
        """Whether all of what was read went."""
        data = self._buffer[:size]
        if self._frames is not None:
            self._frames.feed(data)
        return self._passed(data)

    def _passed(self, data: memoryview) -> bool:
        """Whether all of it went; what did not is kept."""
        while data:
            try:
                data = data[self._sink.send(data) :]
            except _WAIT:
                self._rest = memoryview(bytes(data))
                return False
        return True


class Relay:
    """See the module.  But for `path`, `ready` and `ended` it is the pump's thread's alone."""

    def __init__(self, remote: socket.socket, context: ssl.SSLContext, path: str) -> None:
        remote.setblocking(False)  # noqa: FBT003 - socket's own signature
        remote.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.remote: ssl.SSLSocket = context.wrap_socket(remote, do_handshake_on_connect=False)
        self.path = path
        self.ready: Future[None] = Future()
        """Done when the peer is verified and grpcio may connect to `path`; else says why not."""
        self.ended = False
        """Whether nothing passes any more; true before grpcio can notice."""
        self.error: BaseException | None = None
        """What ended it, if it was not one of the two sides closing."""
        self.on_end: Callable[[], None] = _nothing
        """Called once, on the pump's thread."""
        self._listener: socket.socket | None = None
        self._local: socket.socket | None = None
        self._up: Pipe | None = None
        self._down: Pipe | None = None
        self._frames = Frames()
        self._flows = {UP: Flow.EMPTY, DOWN: Flow.EMPTY}

    @property
    def goodbye(self) -> bool:
        """Whether the peer takes no more calls; true before grpcio can notice."""
        return self._frames.goodbye

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """All that are open."""
        held = (self.remote, self._listener, self._local)
        return tuple(each for each in held if each is not None)

    def due(self, ready: object, events: int) -> int:
        """The directions that may go on, as this socket is ready for these events."""
        reading, writing = (UP, DOWN) if ready is self._local else (DOWN, UP)
        if self._local is None:
            return UP | DOWN
        return (reading if events & READ else 0) | (writing if events & WRITE else 0)

    def advance(self, buffer: memoryview, due: int) -> dict[socket.socket, int] | None:
        """Do what can be done now, in the directions that are due.

        Returns what to wait for, None to be called again soon.  Raises OSError or EOFError at the
        end.
        """
        if not self.ready.done():
            return self._shake() or self._listen()
        if self._local is None:
            if not self._accept(buffer):
                return self._waiting()
            due = UP | DOWN
        return self._move(due)

    def _shake(self) -> dict[socket.socket, int]:
        """Go on with the handshake; nothing to wait for when it is over."""
        try:
            self.remote.do_handshake()
        except ssl.SSLWantReadError:
            return {self.remote: READ}
        except ssl.SSLWantWriteError:
            return {self.remote: READ | WRITE}
        if self.remote.selected_alpn_protocol() == _WRONG_PROTOCOL:
            raise ConnectionError("the peer speaks HTTP/1.1, and gRPC needs HTTP/2")
        return {}

    def _listen(self) -> dict[socket.socket, int]:
        listener = self._listener = socket.socket(socket.AF_UNIX)
        listener.setblocking(False)  # noqa: FBT003 - socket's own signature
        listener.bind(self.path)
        listener.listen(1)
        self.ready.set_result(None)
        return self._waiting()

    def _waiting(self) -> dict[socket.socket, int]:
        """For grpcio; a peer that says something before, as HTTP/2 servers do, can wait."""
        assert self._listener is not None  # noqa: S101 - set when `ready` was
        return {self._listener: READ}

    def _accept(self, buffer: memoryview) -> bool:
        """Whether it is grpcio of this process that connected; nobody else may."""
        assert self._listener is not None  # noqa: S101 - asked by `advance`
        try:
            local, _ = self._listener.accept()
        except _WAIT:
            return False
        if not _is_this_process(local):
            local.close()
            return False
        local.setblocking(False)  # noqa: FBT003 - socket's own signature
        self._local = local
        self._unlisten()
        self._up = Pipe(local, self.remote, buffer)
        self._down = Pipe(self.remote, local, buffer, self._frames)
        return True

    def _move(self, due: int) -> dict[socket.socket, int] | None:
        assert self._local is not None  # noqa: S101 - asked by `advance`
        assert self._up is not None  # noqa: S101 - the same
        assert self._down is not None  # noqa: S101 - the same
        flows = self._flows
        if due & DOWN:
            flows[DOWN] = self._down.move()
        if due & UP:
            flows[UP] = self._up.move()
        up, down = flows[UP], flows[DOWN]
        if up is Flow.MORE or down is Flow.MORE:
            return None
        return {
            self._local: _interest(source_of=up, sink_of=down),
            self.remote: _interest(source_of=down, sink_of=up),
        }

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108 - a str, as sockets want it

    def end(self, error: BaseException | None) -> None:
        """Close everything, and say so."""
        self.ended, self.error = True, error
        self._unlisten()
        self.remote.close()
        if self._local is not None:
            self._local.close()
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionAbortedError("closed"))
        self.on_end()

    def forget(self) -> None:
        """Close this process's copies, after a fork; the connection is the parent's."""
        self.ended = True
        for each in self.sockets:
            each.close()


def _interest(*, source_of: Flow, sink_of: Flow) -> int:
    return (READ if source_of is Flow.EMPTY else 0) | (WRITE if sink_of is Flow.FULL else 0)


def _is_this_process(local: socket.socket) -> bool:
    """By the kernel's word.  Where it has none, the folder of the socket is all that protects."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = local.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid == os.getpid()


def _nothing() -> None:
    """Nobody wants to know."""
