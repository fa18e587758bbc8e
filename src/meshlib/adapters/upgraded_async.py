"""A connection of an event loop, after its server answered 101."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from meshlib.adapters.upgraded import UpgradedReply

if TYPE_CHECKING:
    import aiohttp

_AHEAD = 256 * 1024
"""Bytes that are read before somebody asks for them."""


def upgraded_async(response: aiohttp.ClientResponse) -> UpgradedReply:
    """The reply of aiohttp's 101."""
    stream = _LoopStream(response.connection)
    return UpgradedReply(response, response.raw_headers, stream, response.close)


class _Inbox:
    """What arrived and was not yet asked for: aiohttp takes it for a parser and its queue."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._ended = self._paused = False
        self._news = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._parts.append(data)
        self._size += len(data)
        self._news.set()
        if self._size > _AHEAD and not self._paused:
            self._paused = True
            self._protocol.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._news.set()

    def is_eof(self) -> bool:
        return self._ended

    def set_exception(self, *_: object) -> None:
        self.feed_eof()

    async def take(self, most: int) -> bytes:
        while not self._parts:
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        part = self._parts.popleft()
        if len(part) > most:
            self._parts.appendleft(part[most:])
            part = part[:most]
        self._size -= len(part)
        if self._paused and self._size <= _AHEAD // 2:
            self._paused = False
            self._protocol.resume_reading(resume_parser=False)
        return part


class _LoopStream:
    """The bytes of a connection of aiohttp's."""

    def __init__(self, connection: Any) -> None:
        self._protocol, self._transport = connection.protocol, connection.transport
        self._inbox = _Inbox(self._protocol)
        self._protocol.read_timeout = None  # silence means nothing here
        self._protocol.set_parser(self._inbox, self._inbox)

    async def read(self, most: int) -> bytes:
        return await self._inbox.take(most)

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            message = "the connection was closed"
            raise ConnectionResetError(message)
        self._transport.write(data)
        await self._protocol._drain_helper()  # noqa: SLF001 - as aiohttp's own websockets do
