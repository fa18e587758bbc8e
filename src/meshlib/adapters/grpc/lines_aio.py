"""The connections of one event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import abstractmethod
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

from meshlib.adapters.grpc.line import Line, credentials, options_of
from meshlib.adapters.grpc.pump import pump
from meshlib.adapters.grpc.rotations import Rotations
from meshlib.adapters.grpc.shared import Shared
from meshlib.adapters.wire import Trust, endpoint_of, not_connected, target_of
from meshlib.model import Attempt

Key: TypeAlias = tuple[ssl.SSLContext, str, int]
S = TypeVar("S", bound=Shared)


class AioConnections(Generic[S]):
    """One an endpoint, identity to expect and trust generation."""

    def __init__(self, trust: Trust, rotations: Rotations) -> None:
        self._trust = trust
        self._lines: dict[Key, tuple[int, asyncio.Task[S]]] = {}
        self._rotations = rotations
        rotations.listeners.append(self.rotated)

    async def enter(self, attempt: Attempt, seconds: float) -> tuple[S, bool]:
        """One that counts the attempt, and whether it is new.

        Raises ConnectFailed, PeerNotTrusted.
        """
        while True:
            context, generation = self._trust(target_of(attempt))
            endpoint = endpoint_of(attempt)
            promised = self._promised((context, endpoint.host, endpoint.port), generation, attempt)
            new = not promised.done()
            line = await self._awaited(promised, attempt, seconds) if new else promised.result()
            if line.enter():
                return line, new

    async def _awaited(self, promised: asyncio.Task[S], attempt: Attempt, seconds: float) -> S:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(promised)
        except OSError as exc:  # a timeout is one
            raise not_connected(attempt, exc) from exc

    async def close(self) -> None:
        """Close each with its last call."""
        lines, self._lines = self._lines, {}
        for _, promised in lines.values():
            promised.add_done_callback(_retire)
        await asyncio.sleep(0)

    def _promised(self, key: Key, generation: int, attempt: Attempt) -> asyncio.Task[S]:
        """The connection, perhaps still being made; whoever is ahead in generations is right."""
        found = self._lines.get(key)
        if found is not None and found[0] >= generation and _good(found[1]):
            return found[1]
        if found is not None:
            found[1].add_done_callback(partial(_outdated, key[0]))
        made = asyncio.ensure_future(self._connect(key, attempt))
        made.add_done_callback(_heard)
        self._lines = {k: v for k, v in self._lines.items() if _good(v[1])}
        self._lines[key] = generation, made
        self._rotations.see(key[0], generation)
        return made

    def rotated(self, context: ssl.SSLContext, generation: int) -> None:
        """Let go of what was made with an older generation of this trust."""
        old = {k: v for k, v in self._lines.items() if k[0] is context and v[0] < generation}
        self._lines = {k: v for k, v in self._lines.items() if k not in old}
        for _, promised in old.values():
            promised.add_done_callback(partial(_outdated, context))

    @abstractmethod
    async def _connect(self, key: Key, attempt: Attempt) -> S:
        """Make one.  Raises OSError."""


class AioLines(AioConnections[Line]):
    """Lines of grpcio's."""

    def __init__(
        self,
        trust: Trust,
        rotations: Rotations,
        idle: float,
        options: tuple[tuple[str, Any], ...],
    ) -> None:
        super().__init__(trust, rotations)
        self._idle, self._options = idle, options
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close every line with its last call."""
        await super().close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _connect(self, key: Key, attempt: Attempt) -> Line:
        """The attempt that asks first says how long it may take."""
        context, host, port = key
        async with asyncio.timeout(attempt.connect_timeout):
            relay = pump().relay(await dialled(host, port), context)
            try:
                await asyncio.shield(asyncio.wrap_future(relay.ready))
            except BaseException:
                pump().close(relay)
                raise
        options = options_of(attempt, self._idle, self._options)
        channel = grpc.aio.secure_channel(f"unix:{relay.path}", credentials(), options)
        loop = asyncio.get_running_loop()

        def close(channel: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._close, channel)

        return Line(relay, channel, close)

    def _close(self, channel: Any) -> None:
        task = asyncio.ensure_future(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def dialled(host: str, port: int) -> socket.socket:
    """A connected socket, at the first address that answers."""
    loop, error = asyncio.get_running_loop(), OSError(f"{host} has no address")
    for family, kind, proto, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        made = socket.socket(family, kind, proto)
        made.setblocking(False)  # noqa: FBT003 - socket's own signature
        try:
            await loop.sock_connect(made, address)
        except OSError as exc:
            made.close()
            error = exc
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise error


def _good(promised: asyncio.Task[S]) -> bool:
    if not promised.done():
        return True
    failed = promised.cancelled() or promised.exception() is not None
    return not failed and promised.result().usable


def _heard(promised: asyncio.Task[S]) -> None:
    """Whoever waits is told; if nobody does any more, nobody need be."""
    if not promised.cancelled():
        promised.exception()


def _outdated(context: ssl.SSLContext, promised: asyncio.Task[S]) -> None:
    if not promised.cancelled() and promised.exception() is None:
        promised.result().outdated(context)


def _retire(promised: asyncio.Task[S]) -> None:
    if not promised.cancelled() and promised.exception() is None:
        promised.result().retire()
