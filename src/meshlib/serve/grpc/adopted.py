"""
Servers of programs that have never heard of the mesh: what they listen at is the mesh's.

`add_insecure_port` and `add_secure_port` listen with the mesh's mutual TLS, whatever the program
says; a unix socket stays as it is, and who comes by it is a stranger, as at the edge.  SIGTERM,
where the program leaves it alone, drains the server; the program goes on when it has left.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from meshlib.serve.grpc.aio_server import MeshAioServer
from meshlib.serve.grpc.loops import LoopInterceptor, Loops
from meshlib.serve.grpc.server import MeshGrpcServer
from meshlib.serve.grpc.stay import Stay

if TYPE_CHECKING:
    import grpc.aio

    from meshlib.serve.grpc.rpcs import Desk
    from meshlib.serve.options import ServeOptions

log = logging.getLogger("meshlib.serve")

_LOCAL = ("unix:", "unix-abstract:")


class AdoptedServer(MeshGrpcServer):
    """A `grpc.Server` that a program has made."""

    def __init__(self, options: Callable[[], ServeOptions], server: grpc.Server) -> None:
        super().__init__(options, server)

    def add_insecure_port(self, address: str) -> int:  # type: ignore[override] # refused elsewhere
        """Listen with the mesh's mutual TLS."""
        return _listen(address, self._desk, self._stay, self._server)

    def add_secure_port(  # type: ignore[override]
        self, address: str, server_credentials: grpc.ServerCredentials
    ) -> int:
        """Listen with the mesh's mutual TLS."""
        _tell_replaced(address)
        return _listen(address, self._desk, self._stay, self._server)

    def start(self) -> None:
        """As the program wants it, and register."""
        super().start()
        _drain_on_sigterm(lambda: self.stop(self._stay.drain_config.grace))

    def _bind(self) -> None:
        """The program says where to listen."""


class AdoptedAioServer(MeshAioServer):
    """A `grpc.aio.Server` that a program is making: `make` does it, with one more interceptor."""

    def __init__(
        self,
        options: Callable[[], ServeOptions],
        make: Callable[[grpc.aio.ServerInterceptor], grpc.aio.Server],
    ) -> None:
        self._make = make
        super().__init__(options)

    def _made(self, server: object, loops: Loops, said: dict[str, Any]) -> grpc.aio.Server:
        return self._make(LoopInterceptor(self._desk, self._health))

    def add_insecure_port(self, address: str) -> int:  # type: ignore[override] # refused elsewhere
        """Listen with the mesh's mutual TLS."""
        return _listen(address, self._desk, self._stay, self._server)

    def add_secure_port(  # type: ignore[override]
        self, address: str, server_credentials: grpc.ServerCredentials
    ) -> int:
        """Listen with the mesh's mutual TLS."""
        _tell_replaced(address)
        return _listen(address, self._desk, self._stay, self._server)

    async def start(self) -> None:
        """As the program wants it, and register."""
        await super().start()
        loop = asyncio.get_running_loop()
        leaving: list[asyncio.Task[None]] = []  # a task that nobody holds may vanish

        def leave() -> None:
            leaving.append(loop.create_task(self.stop(self._stay.drain_config.grace)))

        _drain_on_sigterm(lambda: loop.call_soon_threadsafe(leave))

    def _bind(self) -> None:
        """The program says where to listen."""


def _listen(address: str, desk: Desk, stay: Stay, server: grpc.Server | grpc.aio.Server) -> int:
    if address.startswith(_LOCAL):
        desk.plaintext = True
        return server.add_insecure_port(address)
    return stay.bind(server.add_secure_port, address)


def _tell_replaced(address: str) -> None:
    log.warning("the port at %s has the mesh's certificate in place of the program's", address)


def _drain_on_sigterm(leave: Callable[[], object]) -> None:
    """Leave when the process is told to end, unless the program has plans of its own."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: leave())
