"""The connections of synchronous callers: made by the thread that needs one, used from any."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from abc import abstractmethod
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakSet

import grpc

from meshlib.adapters.grpc.line import Line, credentials, options_of
from meshlib.adapters.grpc.pump import pump
from meshlib.adapters.grpc.rotations import Rotations
from meshlib.adapters.grpc.shared import Shared
from meshlib.adapters.wire import Trust, endpoint_of, not_connected, target_of
from meshlib.model import Attempt

Key: TypeAlias = tuple[ssl.SSLContext, str, int]
S = TypeVar("S", bound=Shared)
_WAITED = (OSError, TimeoutError)


class SyncConnections(Generic[S]):
    """One an endpoint, identity to expect and trust generation."""

    def __init__(self, trust: Trust, rotations: Rotations) -> None:
        self._trust = trust
        self._lock = threading.Lock()
        self._lines: dict[Key, tuple[int, Future[S]]] = {}
        self._pid = os.getpid()
        self._rotations = rotations
        rotations.listeners.append(self.rotated)
        self._ready: dict[Key, tuple[tuple[int, int], S]] = {}
        """What was good when it was last asked for, with the generation and the process."""
        self._made: WeakSet[S] = WeakSet()
        self._closed = False

    def enter(self, attempt: Attempt, seconds: float) -> tuple[S, bool]:
        """One that counts the attempt, and whether it is new.

        Raises ConnectFailed, PeerNotTrusted, FutureCancelledError once it is closed.
        """
        while not self._closed:
            context, generation = self._trust(target_of(attempt))
            endpoint = endpoint_of(attempt)
            key = (context, endpoint.host, endpoint.port)
            ready = self._ready.get(key)
            if ready is not None and ready[0] == (generation, os.getpid()) and ready[1].enter():
                return ready[1], False
            promised, mine = self._promised(key, generation)
            if mine:
                self._fulfil(key, promised, attempt, seconds)
            new = mine or not promised.done()
            line = _awaited(promised, attempt, seconds)
            if line.enter():
                self._ready[key] = (generation, os.getpid()), line
                return line, new
        raise grpc.FutureCancelledError

    def close(self) -> None:
        """End every line, and the calls on it."""
        with self._lock:
            self._closed = True
            made = tuple(self._made) if self._pid == os.getpid() else ()
        for line in made:
            line.cut()

    def _promised(self, key: Key, generation: int) -> tuple[Future[S], bool]:
        """The connection, perhaps still being made, and whether it is the caller's to make."""
        found = self._lines.get(key)
        if found is not None and self._good(found, generation):
            return found[1], False
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._lines = os.getpid(), {}
                self._ready, self._made = {}, WeakSet()
            found = self._lines.get(key)
            if found is not None and self._good(found, generation):
                return found[1], False
            made: Future[S] = Future()
            self._lines = {k: v for k, v in self._lines.items() if _alive(v[1])}
            self._ready = {k: v for k, v in self._ready.items() if v[1].usable}
            self._lines[key] = generation, made
        if found is not None:
            found[1].add_done_callback(partial(_outdated, key[0]))
        self._rotations.see(key[0], generation)
        return made, True

    def rotated(self, context: ssl.SSLContext, generation: int) -> None:
        """Let go of what was made with an older generation of this trust."""
        with self._lock:
            old = {k: v for k, v in self._lines.items() if k[0] is context and v[0] < generation}
            self._lines = {k: v for k, v in self._lines.items() if k not in old}
            self._ready = {k: v for k, v in self._ready.items() if k not in old}
        for _, promised in old.values():
            promised.add_done_callback(partial(_outdated, context))

    def _good(self, found: tuple[int, Future[S]], generation: int) -> bool:
        """Whoever is ahead in generations is right."""
        of, promised = found
        if of < generation or self._pid != os.getpid():
            return False
        return _alive(promised)

    def _fulfil(self, key: Key, made: Future[S], attempt: Attempt, seconds: float) -> None:
        try:
            connection = self._connect(key, attempt, seconds)
        except BaseException as exc:  # noqa: BLE001 - raised by whoever waits for it
            made.set_exception(exc)
            return
        with self._lock:
            self._made.add(connection)
        if self._closed:
            connection.cut()
        made.set_result(connection)

    @abstractmethod
    def _connect(self, key: Key, attempt: Attempt, seconds: float) -> S:
        """Make one.  Raises OSError, TimeoutError."""


class SyncLines(SyncConnections[Line]):
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

    def _connect(self, key: Key, attempt: Attempt, seconds: float) -> Line:
        context, host, port = key
        relay = pump().relay(socket.create_connection((host, port), seconds), context)
        try:
            relay.ready.result(seconds)
        except BaseException:
            pump().close(relay)
            raise
        options = options_of(attempt, self._idle, self._options)
        channel = grpc.secure_channel(f"unix:{relay.path}", credentials(), options)
        return Line(relay, channel, _close)


def _awaited(promised: Future[S], attempt: Attempt, seconds: float) -> S:
    try:
        return promised.result(seconds)
    except _WAITED as exc:
        raise not_connected(attempt, exc) from exc


def _alive(promised: Future[S]) -> bool:
    return not promised.done() or (promised.exception() is None and promised.result().usable)


def _outdated(context: ssl.SSLContext, promised: Future[S]) -> None:
    if promised.exception() is None:
        promised.result().outdated(context)


def _close(channel: grpc.Channel) -> None:
    channel.close()
