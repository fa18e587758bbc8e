"""A connection of one event loop."""

from __future__ import annotations

import asyncio
from functools import partial

from meshlib.adapters.grpc.direct.errors import NeverTaken
from meshlib.adapters.grpc.direct.exchange import Exchange
from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.direct.wire import FATAL, Wire


class AioWire(Wire):
    """See the module; it always reads, so that it knows at once when the peer has ended."""

    def __init__(self, tunnel: Tunnel, idle: float) -> None:
        super().__init__(tunnel)
        self._loop = asyncio.get_running_loop()
        self._soon = self._writing = False
        self._idle, self._used = idle, self._loop.time()
        self._loop.add_reader(tunnel, self._on_readable)
        self._timer = self._loop.call_later(idle, self._look)

    async def call(self, exchange: Exchange, seconds: float | None) -> None:
        """Make the call, and wait for what comes of it, so many seconds at most.

        Raises NeverTaken, TimeoutError.
        """
        if not self.usable:
            raise NeverTaken("the connection had ended")
        self._used = self._loop.time()
        over = self._loop.create_future()
        exchange.on_done = partial(settle, over)
        self._connection.begin(exchange)
        self._send_soon()
        timer = self._loop.call_later(seconds, settle, over) if seconds is not None else None
        try:
            await over
        finally:
            if timer is not None:
                timer.cancel()
            late = not exchange.done
            self.cancel(exchange)
        if late:
            raise TimeoutError
        if isinstance(exchange.error, NeverTaken):
            raise exchange.error

    def cancel(self, exchange: Exchange) -> None:
        """Want it no more."""
        if not exchange.done:
            self._connection.cancel(exchange)
            self._send_soon()

    def break_off(self) -> None:
        """End it at once, with every call on it."""
        self._end(ConnectionAbortedError("the connection was closed"))

    def finish(self) -> None:
        """End what nobody uses."""
        self._timer.cancel()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._tunnel)
            self._loop.remove_writer(self._tunnel)
        super().finish()

    def _look(self) -> None:
        """Retire when nobody has used it for long."""
        rest = self._used + self._idle - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look)
        else:
            self.retire()

    def _end(self, error: BaseException) -> None:
        if not self.ended:
            self._loop.remove_reader(self._tunnel)
        super()._end(error)

    def _on_readable(self) -> None:
        try:
            data = self._tunnel.receive()
            if data:
                self._connection.feed(data)
        except FATAL as exc:
            self._broken(exc)
        self._send()

    def _send_soon(self) -> None:
        """Send what all calls of this turn of the loop say, at its end."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send, as far as the socket takes it."""
        self._soon = False
        if not self.ended and (self._connection.out or self._tunnel.unsent):
            try:
                self._tunnel.send(self._connection.out)
            except OSError as exc:
                self._end(exc)
            self._connection.out.clear()
        self._watch()

    def _watch(self) -> None:
        """Wait for the socket, as long as it does not take everything."""
        wanted = self._tunnel.unsent and not self.ended
        if wanted is not self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._tunnel, self._send)
            elif not self._finished:
                self._loop.remove_writer(self._tunnel)


def settle(over: asyncio.Future[None]) -> None:
    """It is over, if it was not yet."""
    if not over.done():
        over.set_result(None)
