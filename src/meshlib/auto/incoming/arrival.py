"""What a server made of threads keeps of its connections and its requests."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Any


class Arrival:
    """A connection that has not proven anything yet."""

    def __init__(self, sock: socket.socket, client: Any, *, edge: bool) -> None:
        self.sock, self.client, self.edge = sock, client, edge

    def hang_up(self) -> None:
        """Its thread notices, and closes it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Busy:
    """How many requests are being served."""

    def __init__(self) -> None:
        self._many, self._idle = 0, threading.Condition()

    def __enter__(self) -> None:
        with self._idle:
            self._many += 1

    def __exit__(self, *_: object) -> None:
        with self._idle:
            self._many -= 1
            self._idle.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for the last one, for at most so long."""
        with self._idle:
            self._idle.wait_for(lambda: self._many == 0, seconds)


def await_request(sock: Any, seconds: float) -> None:
    """Wait until its first bytes are there.  Raises TimeoutError."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return
    if not select.select([sock], [], [], seconds)[0]:
        message = f"nothing was asked for {seconds:.0f} s"
        raise TimeoutError(message)
