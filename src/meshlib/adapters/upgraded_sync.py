"""A connection of urllib3's, after its server answered 101."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from urllib3.util.wait import wait_for_read, wait_for_write

from meshlib.adapters.upgraded import UpgradedReply

if TYPE_CHECKING:
    import urllib3

T = TypeVar("T")


def upgraded_sync(response: Any, raw: Any) -> UpgradedReply:
    """The reply of urllib3's 101."""
    stream = _SocketStream(response)

    def end() -> None:
        stream.end()
        response.close()

    return UpgradedReply(response, raw, stream, end)


class _SocketStream:
    """The bytes of a connection of urllib3's.

    OpenSSL must not be entered by two threads at once for one connection, and CPython before 3.13
    lets them: so every step is taken under a lock without blocking, and waiting is done outside.
    """

    def __init__(self, response: urllib3.HTTPResponse) -> None:
        self._sock: ssl.SSLSocket = response.connection.sock  # type: ignore[union-attr,assignment]
        self._sock.settimeout(0)
        self._ahead = _read_ahead(response._fp.fp)  # type: ignore[union-attr]  # noqa: SLF001 - it may hold the first frames
        self._lock = threading.Lock()

    def read(self, most: int, timeout: float | None = None) -> bytes:
        if self._ahead:
            part, self._ahead = self._ahead[:most], self._ahead[most:]
            return part
        return self._step(lambda: self._sock.recv(most), timeout)

    def write(self, data: bytes, timeout: float | None = None) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._step(lambda part=rest: self._sock.send(part), timeout) :]  # type: ignore[misc]  # bound at once

    def end(self) -> None:
        """Wake up whoever waits: a socket that is merely closed leaves it waiting for ever."""
        with self._lock:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the peer was first

    def _step(self, step: Callable[[], T], timeout: float | None) -> T:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    wait = wait_for_read
                except ssl.SSLWantWriteError:
                    wait = wait_for_write
            left = None if until is None else max(until - time.monotonic(), 0.0)
            if not wait(self._sock, left):
                raise TimeoutError


def _read_ahead(stream: Any) -> bytes:
    """What http.client's buffered file has read beyond the head."""
    try:
        ahead: bytes = stream.peek()
    except (ssl.SSLWantReadError, BlockingIOError):
        return b""
    return ahead
