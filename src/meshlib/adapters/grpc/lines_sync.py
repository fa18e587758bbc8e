"""The lines of synchronous callers: made by the thread that needs one, used from any."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

import grpc

from meshlib.adapters.grpc.line import Line, credentials, options_of
from meshlib.adapters.grpc.pump import pump
from meshlib.adapters.wire import Trust, endpoint_of, not_connected, target_of
from meshlib.model import Attempt

Key: TypeAlias = tuple[ssl.SSLContext, str, int]
_WAITED = (OSError, TimeoutError)


class SyncLines:
    """One line an endpoint, identity to expect and trust generation."""

    def __init__(self, trust: Trust, idle: float, options: tuple[tuple[str, Any], ...]) -> None:
        self._trust, self._idle, self._options = trust, idle, options
        self._lock = threading.Lock()
        self._lines: dict[Key, tuple[int, Future[Line]]] = {}
        self._pid = os.getpid()

    def enter(self, attempt: Attempt, seconds: float) -> tuple[Line, bool]:
        """A line that counts the attempt, and whether it is new.

        Raises ConnectFailed, PeerNotTrusted.
        """
        while True:
            context, generation = self._trust(target_of(attempt))
            endpoint = endpoint_of(attempt)
            key = (context, endpoint.host, endpoint.port)
            promised, mine = self._promised(key, generation)
            if mine:
                self._fulfil(key, promised, attempt, seconds)
            new = mine or not promised.done()
            line = _awaited(promised, attempt, seconds)
            if line.enter():
                return line, new

    def close(self) -> None:
        """Close every line with its last call."""
        with self._lock:
            lines, self._lines = self._lines, {}
        for _, promised in lines.values():
            promised.add_done_callback(_retire)

    def _promised(self, key: Key, generation: int) -> tuple[Future[Line], bool]:
        """The line, perhaps still being made, and whether it is the caller who must make it."""
        found = self._lines.get(key)
        if found is not None and self._good(found, generation):
            return found[1], False
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._lines = os.getpid(), {}
            found = self._lines.get(key)
            if found is not None and self._good(found, generation):
                return found[1], False
            made: Future[Line] = Future()
            self._lines = {k: v for k, v in self._lines.items() if _alive(v[1])}
            self._lines[key] = generation, made
        if found is not None:
            found[1].add_done_callback(partial(_outdated, key[0]))
        return made, True

    def _good(self, found: tuple[int, Future[Line]], generation: int) -> bool:
        """Whoever is ahead in generations is right."""
        of, promised = found
        if of < generation or self._pid != os.getpid():
            return False
        return _alive(promised)

    def _fulfil(self, key: Key, made: Future[Line], attempt: Attempt, seconds: float) -> None:
        try:
            made.set_result(self._connect(key, attempt, seconds))
        except BaseException as exc:  # noqa: BLE001 - raised by whoever waits for it
            made.set_exception(exc)

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


def _awaited(promised: Future[Line], attempt: Attempt, seconds: float) -> Line:
    try:
        return promised.result(seconds)
    except _WAITED as exc:
        raise not_connected(attempt, exc) from exc


def _alive(promised: Future[Line]) -> bool:
    return not promised.done() or (promised.exception() is None and promised.result().usable)


def _outdated(context: ssl.SSLContext, promised: Future[Line]) -> None:
    if promised.exception() is None:
        promised.result().outdated(context)


def _retire(promised: Future[Line]) -> None:
    if promised.exception() is None:
        promised.result().retire()


def _close(channel: grpc.Channel) -> None:
    channel.close()
