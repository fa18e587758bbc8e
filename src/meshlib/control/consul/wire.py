"""
Connections to the agent: few, reused, and cut when somebody must not wait any longer.

An agent allows 200 connections an address, and one whose peer is gone keeps its place until the
blocking query on it ends.  So connections are kept and lent; what is cut is cut on purpose.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.local.atfork import ForkLock

CONNECT = 3.0
"""Seconds to connect: the agent is on this machine, or next to it."""

KEPT = 2
"""Idle connections kept for short requests; each blocking query keeps its own besides."""

RANK = 90
"""Of the lock: it is held for list operations only, and nothing else is taken under it."""


class Wire(http.client.HTTPConnection):
    """One connection, which another thread may `cut`."""

    def __init__(self, address: ConsulAddress, tls: ssl.SSLContext | None) -> None:
        super().__init__(address.host, address.port, timeout=CONNECT)
        self._address, self._tls = address, tls
        self.is_cut = False
        self.fresh = True
        """Whether nothing was ever answered on it."""

    def connect(self) -> None:
        """Connect within `CONNECT` seconds.  Raises OSError."""
        self.fresh = True
        if self._address.scheme == "unix":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(CONNECT)
            self.sock.connect(self._address.path)
        else:
            super().connect()
        if self._tls is not None:
            name = self._address.server_name or self._address.host
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=name)
        if self.is_cut:
            raise ConnectionAbortedError("cut while connecting")

    def prepare(self, timeout: float) -> None:
        """Be connected, and patient for `timeout` seconds.  Raises OSError."""
        if self.sock is not None and _has_ended(self.sock):
            self.close()
        if self.sock is None:
            self.connect()
        self.sock.settimeout(timeout)

    def cut(self) -> None:
        """End whatever another thread is waiting for on it."""
        self.is_cut = True
        sock = self.sock
        if sock is not None:
            with suppress(OSError):  # not connected yet, or no longer
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's own is not for threads


def _has_ended(sock: socket.socket) -> bool:
    """Whether the other side has closed: an idle connection has nothing to say but that."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class Wires:
    """The connections of one client; safe for threads, and left behind by a forked child."""

    def __init__(self, address: ConsulAddress) -> None:
        self._address = address
        self._tls: ssl.SSLContext | None = None
        self._idle: list[Wire] = []
        self._waiting: list[Wire] = []
        self._lent: set[Wire] = set()
        self._lock = ForkLock(RANK, child=self._in_child)
        self.closed = False

    @contextmanager
    def lend(self, *, waits: bool) -> Iterator[Wire]:
        """A connection for one request; kept for the next one if that went well.

        `waits` tells blocking queries from the rest.  Raises ssl.SSLError or OSError if the
        files of the TLS settings cannot be used.
        """
        kept = self._waiting if waits else self._idle
        wire = self._take(kept)
        try:
            yield wire
        except BaseException:
            self._drop(wire)
            raise
        self._give_back(wire, kept, None if waits else KEPT)

    def close(self) -> None:
        """Close the idle ones and cut the others; what is lent from now on is cut already."""
        with self._lock:
            self.closed = True
            idle = self._idle + self._waiting
            lent = list(self._lent)
            self._idle.clear()
            self._waiting.clear()
        for wire in idle:
            wire.close()
        for wire in lent:
            wire.cut()

    def __len__(self) -> int:
        with self._lock:
            return len(self._idle) + len(self._waiting) + len(self._lent)

    def _take(self, kept: list[Wire]) -> Wire:
        with self._lock:
            wire = kept.pop() if kept else self._new()
            self._lent.add(wire)
            if self.closed:
                wire.cut()
        return wire

    def _new(self) -> Wire:
        if self._address.scheme == "https" and self._tls is None:
            self._tls = tls_context(self._address)
        return Wire(self._address, self._tls)

    def _give_back(self, wire: Wire, kept: list[Wire], room: int | None) -> None:
        with self._lock:
            self._lent.discard(wire)
            keep = not self.closed and (room is None or len(kept) < room)
            if keep:
                kept.append(wire)
        if not keep:
            wire.close()

    def _drop(self, wire: Wire) -> None:
        with self._lock:
            self._lent.discard(wire)
        wire.close()

    def _in_child(self) -> None:
        for wire in (*self._idle, *self._waiting, *self._lent):
            sock, wire.sock = wire.sock, None
            if sock is not None:
                socket.socket.close(sock)  # this copy of it; the parent goes on speaking
        self._idle.clear()
        self._waiting.clear()
        self._lent.clear()


def tls_context(address: ConsulAddress) -> ssl.SSLContext:
    """How to speak to an agent over HTTPS.  Raises OSError (which ssl.SSLError is)."""
    context = ssl.create_default_context(
        cafile=address.ca_file or None, capath=address.ca_path or None
    )
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if address.cert_file:
        context.load_cert_chain(address.cert_file, address.key_file)
    return context
