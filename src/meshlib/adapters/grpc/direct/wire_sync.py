"""
A connection that threads share, none of which is its own.

Of those that wait for an answer one leads: it reads for all and wakes whose answers it finds, until
it has its own; then another one leads.  Of those that have something to send one sends, for all who
come while it is at it (Hendler et al., "Flat Combining", SPAA 2010).  So a call that is alone
changes no thread, and many calls are few reads and few writes.

What is said, `_lock` guards, and never for long; the tunnel is `_pipe`'s, and who finds it taken
goes on: whoever has it looks again for what is to be sent when they give it back.  `_pipe` is taken
before `_lock`, never after.
"""

from __future__ import annotations

import select
import threading

from meshlib.adapters.grpc.direct.errors import NeverTaken
from meshlib.adapters.grpc.direct.exchange import Exchange
from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.direct.wire import FATAL, Wire
from meshlib.runtime import Clock


class SyncWire(Wire):
    """See the module."""

    def __init__(self, tunnel: Tunnel, clock: Clock) -> None:
        super().__init__(tunnel)
        self._clock = clock
        self.used = clock()
        """When it was last."""
        self._lock, self._pipe = threading.Lock(), threading.Lock()
        self._led = False
        self._followers: dict[Exchange, threading.Lock] = {}
        self._readable = select.poll()
        self._readable.register(tunnel, select.POLLIN)

    def call(self, exchange: Exchange, until: float) -> None:
        """Make the call, and wait for what comes of it, until `until` on the clock at most.

        Raises NeverTaken, TimeoutError.
        """
        if self._connection.quiet:
            self._receive()  # what came while nobody waited
        try:
            self._begin(exchange)
        finally:
            self._send()
        try:
            self._await(exchange, until)
        finally:
            self._withdraw(exchange)
        if isinstance(exchange.error, NeverTaken):
            raise exchange.error

    def cancel(self, exchange: Exchange) -> None:
        """Want it no more; from any thread."""
        with self._lock:
            self._connection.cancel(exchange)
            self._wake(exchange)
        if self.hold():
            try:
                self._send()
            finally:
                self.leave()

    def break_off(self) -> None:
        """End it at once, with every call on it."""
        with self._lock:
            self._end(ConnectionAbortedError("the connection was closed"))
        self._tunnel.wake()

    def _begin(self, exchange: Exchange) -> None:
        with self._lock:
            if not self.usable:
                raise NeverTaken("the connection had ended")
            self.used = self._clock()
            exchange.on_done = lambda: self._wake(exchange)
            self._connection.begin(exchange)

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

    def _withdraw(self, exchange: Exchange) -> None:
        """It is over, or wanted no more; who led for others as well leaves that to one of them."""
        with self._lock:
            self._connection.cancel(exchange)
            if self._followers and not self._led:
                self._wake(next(iter(self._followers)))
        self._send()

    def _lead(self, exchange: Exchange, until: float) -> None:
        """Read for all, until there is what we wait for."""
        while left := self._left(exchange, until):
            stuck = self._tunnel.unsent
            if stuck:
                self._readable.modify(self._tunnel, select.POLLIN | select.POLLOUT)
            ready = self._readable.poll(_millis(min(left, exchange.tick)))
            if stuck:
                self._readable.modify(self._tunnel, select.POLLIN)
            if ready:
                self._receive()
                self._send()

    def _follow(self, exchange: Exchange, until: float) -> None:
        """Wait until it is done or nobody leads; whoever leads does not know that we are stuck."""
        if self._tunnel.unsent:
            self._unstick(exchange, until)
        news = threading.Lock()
        news.acquire()
        with self._lock:
            if exchange.done or not self._led:
                return
            self._followers[exchange] = news
        if not news.acquire(timeout=min(max(until - self._clock(), 0), threading.TIMEOUT_MAX)):
            with self._lock:
                self._followers.pop(exchange, None)

    def _unstick(self, exchange: Exchange, until: float) -> None:
        writable = select.poll()
        writable.register(self._tunnel, select.POLLOUT)
        while self._tunnel.unsent and (left := self._left(exchange, until)):
            if writable.poll(_millis(min(left, exchange.tick))):
                self._send()

    def _left(self, exchange: Exchange, until: float) -> float:
        """Seconds it may still be waited for; none, too, when it is done."""
        return 0.0 if exchange.done else max(until - self._clock(), 0.0)

    def _wake(self, exchange: Exchange) -> None:
        news = self._followers.pop(exchange, None)
        if news is not None:
            news.release()

    def _receive(self) -> None:
        """Take what has come.  Those who found the tunnel taken rely on a `_send` afterwards."""
        with self._pipe:
            try:
                data = self._tunnel.receive()
                if data:
                    with self._lock:
                        self._connection.feed(data)
            except FATAL as exc:
                with self._lock:
                    self._broken(exc)

    def _send(self) -> None:
        """Send what is to be sent by now, as far as the socket takes it."""
        stuck = False
        while not stuck and self._unsaid and self._pipe.acquire(blocking=False):
            try:
                stuck = self._sent()
            finally:
                self._pipe.release()

    @property
    def _unsaid(self) -> bool:
        return bool(self._connection.out or self._tunnel.unsent) and not self.ended

    def _sent(self) -> bool:
        """Whether the socket takes no more."""
        with self._lock:
            data, self._connection.out = self._connection.out, bytearray()
        try:
            self._tunnel.send(data)
        except OSError as exc:
            with self._lock:
                self._end(exc)
        return self._tunnel.unsent


def _millis(seconds: float) -> int:
    return int(seconds * 1000) + 1
