"""
A connection that threads share, none of which is its own.

Of those that wait for an answer one leads: it reads for all and wakes whose answers it finds, until
it has its own; then another one leads.  So a call that is alone changes no thread, and many calls
are read by few.
"""

from __future__ import annotations

import select
import threading

from meshlib.adapters.grpc.direct.errors import NeverTaken
from meshlib.adapters.grpc.direct.exchange import Exchange
from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.direct.wire import Wire
from meshlib.runtime import Clock


class SyncWire(Wire):
    """See the module."""

    def __init__(self, tunnel: Tunnel, clock: Clock) -> None:
        super().__init__(tunnel)
        self._clock = clock
        self.used = clock()
        """When it was last."""
        self._lock = threading.Lock()
        self._led = False
        self._followers: dict[Exchange, threading.Lock] = {}
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(tunnel, select.POLLIN)
        self._writable.register(tunnel, select.POLLOUT)

    def call(self, exchange: Exchange, until: float) -> None:
        """Make the call, and wait for what comes of it, until `until` on the clock at most.

        Raises NeverTaken, TimeoutError.
        """
        with self._lock:
            if not self._led:
                self._receive()  # what came while nobody waited
            if not self.usable:
                raise NeverTaken("the connection had ended")
            self.used = self._clock()
            exchange.on_done = lambda: self._wake(exchange)
            self._connection.begin(exchange)
            self._send()
        try:
            self._await(exchange, until)
        finally:
            with self._lock:
                if not exchange.done:
                    self._drop(exchange)
                if self._followers and not self._led:
                    self._wake(next(iter(self._followers)))
        if isinstance(exchange.error, NeverTaken):
            raise exchange.error

    def cancel(self, exchange: Exchange) -> None:
        """Want it no more; from any thread."""
        with self._lock:
            self._drop(exchange)
            self._wake(exchange)

    def break_off(self) -> None:
        """End it at once, with every call on it."""
        with self._lock:
            self._end(ConnectionAbortedError("the connection was closed"))
        self._tunnel.wake()

    def _await(self, exchange: Exchange, until: float) -> None:
        while not exchange.done:
            if self._clock() >= until:
                raise TimeoutError
            with self._lock:
                lead, self._led = not self._led, True
            if lead:
                try:
                    self._lead(exchange, until)
                finally:
                    self._led = False
            else:
                self._follow(exchange, until)

    def _lead(self, exchange: Exchange, until: float) -> None:
        """Read for all, until there is what we wait for."""
        while left := self._left(exchange, until):
            if self._tunnel.unsent:
                self._readable.modify(self._tunnel, select.POLLIN | select.POLLOUT)
            ready = self._readable.poll(_millis(min(left, exchange.tick)))
            if self._tunnel.unsent:
                self._readable.modify(self._tunnel, select.POLLIN)
            if ready:
                with self._lock:
                    self._receive()

    def _follow(self, exchange: Exchange, until: float) -> None:
        """Wait until it is done or nobody leads; whoever leads does not send for us."""
        while self._tunnel.unsent and (left := self._left(exchange, until)):
            if self._writable.poll(_millis(min(left, exchange.tick))):
                with self._lock:
                    self._send()
        news = threading.Lock()
        news.acquire()
        with self._lock:
            if exchange.done or not self._led:
                return
            self._followers[exchange] = news
        if not news.acquire(timeout=min(max(until - self._clock(), 0), threading.TIMEOUT_MAX)):
            with self._lock:
                self._followers.pop(exchange, None)

    def _left(self, exchange: Exchange, until: float) -> float:
        """Seconds it may still be waited for; none, too, when it is done."""
        return 0.0 if exchange.done else max(until - self._clock(), 0.0)

    def _wake(self, exchange: Exchange) -> None:
        news = self._followers.pop(exchange, None)
        if news is not None:
            news.release()

    def _drop(self, exchange: Exchange) -> None:
        self._connection.cancel(exchange)
        self._send()

    def _send(self) -> None:
        try:
            self._flush()
        except OSError as exc:
            self._end(exc)


def _millis(seconds: float) -> int:
    return int(seconds * 1000) + 1
