"""One connection under hypercorn: who is at its other end, and how long we wait for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from meshlib.serve.admission import Connection
from meshlib.serve.asgi import CONNECTION, ASGIApp
from meshlib.serve.hyper_apps import Apps
from meshlib.serve.hyper_protocols import MeshH2, MeshH11
from meshlib.serve.newcomers import Newcomers
from meshlib.serve.options import PeerLimits
from meshlib.trust.tls import peer_of

if TYPE_CHECKING:
    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.config import Config

_READ = 65536
_ROOM = 10
"""Pieces of a body of HTTP/1.1 that wait for the application: hypercorn's.  In HTTP/2 the window
of the stream is the limit."""
_GOODBYE = 1.0
"""Seconds for the last bytes of the last answer, and for the peer's half of TLS's goodbye, once
the server is leaving."""


@dataclass(frozen=True, slots=True)
class Door:
    """A way in."""

    known: Callable[[asyncio.BaseTransport], Connection]
    """What the listener knows of who is there."""
    first_head: float
    """Seconds until the first request must be there."""
    limits: PeerLimits
    newcomers: Newcomers[Conversation] | None = None
    """Those who have not sent a request, where anybody may come in."""


def from_mesh(limits: PeerLimits, keep_alive: float) -> Door:
    """The mesh's listener: the handshake has proven who it is, and a peer may connect early."""

    def known(transport: asyncio.BaseTransport) -> Connection:
        return Connection(peer_of(transport.get_extra_info("ssl_object")))

    return Door(known, keep_alive, limits)


def from_anywhere(limits: PeerLimits, known: Connection) -> Door:
    """A listener that knows nothing of who is there but how it came."""
    newcomers: Newcomers[Conversation] = Newcomers(limits.newcomers, Conversation.abort)
    return Door(lambda _: known, limits.head, limits, newcomers)


class Conversation(TCPServer):
    """hypercorn's connection, which is awaited."""

    protocol: MeshH11 | MeshH2  # type: ignore[assignment]

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        context: WorkerContext,
        state: Mapping[str, Any],
        door: Door,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        known = door.known(writer.transport)
        own: Any = {**state, CONNECTION: known}
        loop = asyncio.get_running_loop()
        super().__init__(app, loop, config, context, own, reader, writer)  # type: ignore[arg-type]
        self._door = door
        self._late: asyncio.TimerHandle | None = None
        self._ended = self._head_open = False

    def abort(self) -> None:
        """End it at once."""
        self.writer.transport.abort()

    async def leave(self) -> None:
        """Answer no other request, and wait for the peer's goodbye no longer than this takes."""
        if self._ended:
            self._part()
        elif hasattr(self, "protocol"):  # or it has not begun, and ends by itself
            await self.protocol.leave()

    async def run(self) -> None:
        """Serve until one of the two sides ends it."""
        if self._door.newcomers is not None:
            self._door.newcomers.admit(self)
        self._be_impatient(self._door.first_head)
        try:
            async with TaskGroup(self.loop) as group:
                self._task_group = group
                self.protocol = self._spoken(group)
                await self.protocol.initiate()
                await self.idle_task.restart(group, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()
        except OSError:
            pass  # the peer has gone
        finally:
            self._request_is_there()
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol says."""
        if isinstance(event, Closed):
            self._ended = True
            self.protocol.end()
        elif isinstance(event, Updated):
            if not event.idle:
                self._request_is_there()
            elif self._ended or self.protocol.leaving:
                return  # it is ended by who says so, once the last byte is out
        await super().protocol_send(event)

    def _spoken(self, group: TaskGroup) -> MeshH11 | MeshH2:
        sock, tls = self.writer.get_extra_info("socket"), self.writer.get_extra_info("ssl_object")
        alpn = tls.selected_alpn_protocol() if tls is not None else None
        speaker, room = (MeshH2, inf) if alpn == "h2" else (MeshH11, _ROOM)
        return speaker(
            self.app,
            self.config,
            self.context,
            Apps(group, room),  # type: ignore[arg-type] # what the protocols use of one
            ConnectionState(self.state),
            tls is not None,
            parse_socket_addr(sock.family, sock.getpeername()),
            parse_socket_addr(sock.family, sock.getsockname()),
            self.protocol_send,
        )

    async def _read_data(self) -> None:
        while not self.reader.at_eof():
            try:
                async with asyncio.timeout(self.config.read_timeout):
                    data = await self.reader.read(_READ)
            except OSError:
                break
            await self.protocol.handle(RawData(data))
            self._watch_head()
        self._ended = True
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        self._part()
        if not self.writer.is_closing():  # asyncio's TLS forgets on a second close() how to abort()
            self.writer.close()
        with suppress(OSError):  # a goodbye that comes too late, or never
            await self.writer.wait_closed()
        await self.idle_task.stop()

    async def _initiate_server_close(self) -> None:
        await self.protocol.leave()
        if not self._ended:
            await self.protocol.handle(Closed())
            await self.protocol_send(Closed())

    def _part(self) -> None:
        if self.context.terminated.is_set():
            self.loop.call_later(_GOODBYE, self.abort)

    def _watch_head(self) -> None:
        if self.protocol.head_is_open and not self._head_open:
            self._head_open = True
            self._be_impatient(self._door.limits.head)

    def _be_impatient(self, seconds: float) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(seconds, self.abort)

    def _request_is_there(self) -> None:
        self._head_open = False
        if self._door.newcomers is not None:
            self._door.newcomers.leave(self)
        if self._late is not None:
            self._late.cancel()
            self._late = None
