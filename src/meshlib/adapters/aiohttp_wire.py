"""
What aiohttp takes for a connection: memory, with the mesh at the other end.

aiohttp's own `ResponseHandler` parses what is said here, and its own writers write to it, so that
responses, decompression, limits, uploads and websockets are aiohttp's.  Only the socket is missing.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from aiohttp.client_proto import ResponseHandler

from meshlib.errors import MeshError
from meshlib.model import Reply
from meshlib.runtime import run_sync

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientTimeout

_AHEAD = 64 * 1024
"""Bytes that may wait to be sent before their writer has to wait."""
_PART = 64 * 1024
_WITHOUT_BODY = frozenset({204, 304})

Told = Callable[[MeshError], Exception]
"""Makes one of aiohttp's errors of one of ours."""


class Wire(asyncio.Transport):
    """The transport of one exchange."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: ClientTimeout) -> None:
        super().__init__()
        self.timeout = timeout
        """The session's, or the request's own."""
        self.protocol = ResponseHandler(loop)
        self._loop = loop
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._closing = False
        self._incoming: asyncio.Task[None] | None = None
        self._outgoing: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._framing = _Framing.BY_LENGTH
        self.protocol.connection_made(self)

    # ---- what aiohttp asks of a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes to be sent."""
        self._parts.append(bytes(data))
        self._size += len(data)
        self._news.set()
        if self._size > _AHEAD and not self.protocol.writing_paused:
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        """Whether nothing more will be sent."""
        return self._closing

    def close(self) -> None:
        """End the exchange; what was written to a websocket is sent first."""
        if self._closing:
            return
        self._closing = True
        self._news.set()
        self._flowing.set()
        if self._outgoing is None or not self._parts:
            self._let_go()

    abort = close

    def pause_reading(self) -> None:
        """Have the other side wait: nobody has asked for what came already."""
        self._flowing.clear()

    def resume_reading(self) -> None:
        """Let it go on."""
        self._flowing.set()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing: whom it leads to is the mesh's business."""
        del name
        return default

    # ---- what the mesh does with it

    async def sent(self, writer: asyncio.Task[None]) -> AsyncIterator[bytes]:
        """The parts of a request body, as aiohttp's `writer` writes them.

        Raises what aiohttp makes of an error of the user's own body.
        """
        writer.add_done_callback(lambda _: self._news.set())
        while True:
            while self._parts:
                yield self._taken()
            if writer.done():
                break
            self._news.clear()
            await self._news.wait()
        failure = self.protocol.exception()
        if failure is not None:
            raise failure

    def answer(self, reply: Reply, *, bodiless: bool) -> None:
        """Say the head of the reply, and all of the body that is there."""
        self._framing = _framing(reply, bodiless=bodiless)
        reason = reply.reason.encode("latin-1")
        head = b"".join(b"%s: %s\r\n" % pair for pair in reply.raw_headers)
        said = b"HTTP/1.1 %d %s\r\n%s\r\n" % (reply.status, reason, head)
        if reply.content is None:
            self._reply = reply
            self.protocol.data_received(said)
        else:
            self.protocol.data_received(said + self._framed(reply.content))
            self._end_of_body()

    def carry(self, response: ClientResponse, told: Told) -> None:
        """Bring the rest of the body, or what is said both ways after a 101."""
        reply = self._reply
        if reply is None:
            return
        if reply.upgraded is None:
            self._incoming = self._loop.create_task(self._body(reply, response, told))
        else:
            self._incoming = self._loop.create_task(self._inwards(reply))
            self._outgoing = self._loop.create_task(self._outwards(reply))

    async def _body(self, reply: Any, response: ClientResponse, told: Told) -> None:
        try:
            async for part in reply:
                await self._flowing.wait()
                self.protocol.data_received(self._framed(part))
        except MeshError as exc:
            if self._closing:
                return  # it was all heard, and letting go of the reply ended it
            where: Any = response.content  # none before its head was heard
            if where is None:
                where = self.protocol
            where.set_exception(told(exc), exc)
        else:
            self._end_of_body()

    def _framed(self, part: bytes) -> bytes:
        if self._framing is _Framing.CHUNKED and part:
            return b"%x\r\n%s\r\n" % (len(part), part)
        return part

    def _end_of_body(self) -> None:
        if self._framing is _Framing.CHUNKED:
            self.protocol.data_received(b"0\r\n\r\n")
        elif self._framing is _Framing.UNTIL_CLOSED:
            self._loop.call_soon(self._hang_up)

    def _hang_up(self) -> None:
        if not self._closing:
            self.protocol.connection_lost(None)

    async def _inwards(self, reply: Reply) -> None:
        while data := await reply.upgraded.read(_PART):
            await self._flowing.wait()
            self.protocol.data_received(data)
        self._hang_up()

    async def _outwards(self, reply: Reply) -> None:
        try:
            while self._parts or not self._closing:
                while self._parts:
                    await reply.upgraded.write(self._taken())
                self._news.clear()
                if not self._closing:
                    await self._news.wait()
        except OSError as exc:
            if not self._closing:
                self.protocol.connection_lost(exc)
        self._let_go()

    def _taken(self) -> bytes:
        part = self._parts.popleft()
        self._size -= len(part)
        if self._size <= _AHEAD // 2 and self.protocol.writing_paused:
            self.protocol.resume_writing()
        return part

    def _let_go(self) -> None:
        if self._incoming is not None:
            self._incoming.cancel()
        if self._outgoing is not None and self._outgoing is not asyncio.current_task(self._loop):
            self._outgoing.cancel()
        if self._reply is not None:
            run_sync(self._reply.discard())  # engines let go of a connection without waiting


class _Framing(enum.Enum):
    """How the end of a body is told."""

    BY_LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSED = enum.auto()


def _framing(reply: Reply, *, bodiless: bool) -> _Framing:
    said = {name.lower(): value.lower() for name, value in reply.raw_headers}
    if bodiless or reply.upgraded is not None or reply.status in _WITHOUT_BODY:
        return _Framing.BY_LENGTH
    if b"chunked" in said.get(b"transfer-encoding", b""):
        return _Framing.CHUNKED
    return _Framing.BY_LENGTH if b"content-length" in said else _Framing.UNTIL_CLOSED
