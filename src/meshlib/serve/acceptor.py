"""
Accepts connections for an asyncio server, and shows those out who do not introduce themselves.

asyncio's own `create_server` lets any number of connections be in the middle of a handshake, for
60 s each, and gives nobody a handle on them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from meshlib.serve.newcomers import EXHAUSTED, Newcomers
from meshlib.serve.options import PeerLimits
from meshlib.serve.plaintext import Plaintext, is_handshake

log = logging.getLogger("meshlib.serve")

_AT_ONCE = 64
"""Connections accepted before others get their turn."""
_RETRY = 0.2
"""Seconds until a process without free file descriptors looks again."""
_GOODBYE = 5.0
"""Seconds for a peer's half of TLS's goodbye; asyncio's default is 30."""


@dataclass(frozen=True, slots=True)
class Lenient:
    """What serves those who do not begin with TLS, while they are accepted."""

    mode: Plaintext
    protocol: Callable[[], asyncio.Protocol]


class Acceptor:
    """One listening socket; made and used in one event loop.

    It has what uvicorn uses of an `asyncio.Server`.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        limits: PeerLimits,
        lenient: Lenient | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening, self._protocol, self._context = listening, protocol, context
        self._lenient = lenient
        self._handshake = limits.handshake
        self._pending: Newcomers[asyncio.Task[None]] = Newcomers(limits.newcomers, _cancel)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.settimeout(0)
        self._resume()

    def close(self) -> None:
        """Accept nobody any more, and drop those who are in the middle of a handshake."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening.fileno())
            for task in self._tasks:
                task.cancel()

    async def wait_closed(self) -> None:
        """Wait until the last handshake has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening.fileno(), self._readable)

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # it was gone before we looked
            except OSError as exc:
                self._cannot_accept(exc)
                return
            self._greet(accepted)

    def _greet(self, accepted: socket.socket) -> None:
        accepted.settimeout(0)
        task = self._loop.create_task(self._connect(accepted))
        self._tasks.add(task)
        self._pending.admit(task)
        task.add_done_callback(lambda _: self._greeted(task, accepted))

    def _greeted(self, task: asyncio.Task[None], accepted: socket.socket) -> None:
        self._tasks.discard(task)
        self._pending.leave(task)
        if task.cancelled():
            accepted.close()  # it may never have begun

    async def _connect(self, accepted: socket.socket) -> None:
        protocol, context, lenient = self._protocol, self._context, self._lenient
        try:
            if lenient is not None and lenient.mode.accepted:
                first = await self._first_byte(accepted)
                if not is_handshake(first):
                    protocol, context = lenient.protocol, None
            await self._hand_over(accepted, protocol, context)
        except OSError as exc:  # ssl.SSLError and TimeoutError are some
            log.debug("a connection was not made: %s", exc)

    async def _hand_over(
        self,
        accepted: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
    ) -> None:
        await self._loop.connect_accepted_socket(
            protocol,
            accepted,
            ssl=context,
            ssl_handshake_timeout=None if context is None else self._handshake,
            ssl_shutdown_timeout=None if context is None else _GOODBYE,
        )

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        """It stays where it is.  Raises OSError, and closes, when there is none in time."""
        readable = asyncio.Event()
        try:
            async with asyncio.timeout(self._handshake):
                self._loop.add_reader(accepted, readable.set)
                try:
                    await readable.wait()
                finally:
                    self._loop.remove_reader(accepted)
            return accepted.recv(1, socket.MSG_PEEK)
        except OSError:
            accepted.close()
            raise

    def _cannot_accept(self, exc: OSError) -> None:
        if exc.errno not in EXHAUSTED:
            raise exc
        if self._pending.evict_one():
            return
        log.warning("no connection can be accepted: %s", exc)
        self._loop.remove_reader(self._listening.fileno())
        self._loop.call_later(_RETRY, self._resume)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
