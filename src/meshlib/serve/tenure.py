"""
An asyncio server's time in the mesh: registered, asked to leave, a lame duck, gone.

The server says what it closes and how; this knows when.  The order: deregister, lame duck, refuse
keep-alive, finish what is in flight, end the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Generator

from meshlib.serve.leave import tell
from meshlib.serve.options import Lease, Listening, ServeOptions
from meshlib.serve.sockets import address_of
from meshlib.serve.stages import Stage, Stages

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Tenure:
    """Of one server, in one event loop; `ask` is for any thread, the rest is for the loop's.

    `stop_at_once` is called in the loop when the server is asked a second time.
    """

    def __init__(
        self,
        options: ServeOptions,
        stages: Stages,
        stop_at_once: Callable[[], None] = lambda: None,
    ) -> None:
        self._options, self._stages, self._stop_at_once = options, stages, stop_at_once
        self._asked, self._hurry = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lease: Lease | None = None
        self._signals = self._early = 0

    def begin(self) -> None:
        """Be ready to be asked to leave, in the running loop."""
        self._loop = asyncio.get_running_loop()
        for _ in range(self._early):
            self._told()

    def ask(self) -> None:
        """Ask the server to leave, or with a second call to stop at once."""
        if self._loop is None:
            self._early += 1
        else:
            self._loop.call_soon_threadsafe(self._told)

    async def hold(self, main: socket.socket, side: socket.socket | None = None) -> None:
        """Register, stay until asked to leave, and be a lame duck.

        Raises RegistryUnavailable, ConfigError.
        """
        await self.register(main, side)
        await self._asked.wait()
        await self.drain()

    async def register(self, main: socket.socket, side: socket.socket | None = None) -> None:
        """Announce the instance.  Raises RegistryUnavailable, ConfigError."""
        host, port = address_of(main)
        self._lease = await asyncio.to_thread(self._options.register, host, port)
        edge = address_of(side) if side is not None else None
        self._options.started(Listening(host, port, edge))

    async def drain(self) -> None:
        """Deregister, and serve those who have not heard of it."""
        if self._hurry.is_set():
            return
        drain = self._options.drain
        self._stages.advance(Stage.LAME_DUCK)
        if self._lease is not None:
            await asyncio.to_thread(tell, self._lease.drain, drain.deregister)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), drain.lame_duck)

    async def end(self) -> None:
        """End the lease."""
        if self._lease is not None:
            await asyncio.to_thread(tell, self._lease.close, self._options.drain.deregister)

    @contextlib.contextmanager
    def signals(self) -> Generator[None, None, None]:
        """SIGTERM and SIGINT ask; after the second one a third finds nobody in its way."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._heard) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _heard(self, *_: object) -> None:
        self._signals += 1
        if self._signals > 1:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
        self.ask()

    def _told(self) -> None:
        if self._asked.is_set():
            self._hurry.set()
            self._stages.advance(Stage.CLOSING)
            self._stop_at_once()
        self._asked.set()
