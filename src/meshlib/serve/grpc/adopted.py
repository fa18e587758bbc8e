"""
Servers of programs that have never heard of the mesh: what they listen at is the mesh's.

`add_insecure_port` and `add_secure_port` listen with the mesh's mutual TLS, whatever the program
says; the first of several addresses is where peers go.  A unix socket stays as it is, and who comes
by it is a stranger, as at the edge.  SIGTERM, where the program leaves it alone, drains the server;
the program goes on when it has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from meshlib.serve import departures
from meshlib.serve.grpc.aio_server import MeshAioServer
from meshlib.serve.grpc.loops import LoopInterceptor
from meshlib.serve.grpc.server import MeshGrpcServer
from meshlib.serve.grpc.stay import Stay

if TYPE_CHECKING:
    import grpc.aio

    from meshlib.serve.grpc.guard import Guard
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
        departures.join(self)
        departures.listen()

    def depart(self) -> Callable[[], object]:
        """Begin to leave, with a second call at once; what is returned waits for the end."""
        return self.stop(self._stay.drain_config.grace).wait

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

    def _made(self, server: object, guard: Guard, said: dict[str, Any]) -> grpc.aio.Server:
        self._guard = None
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
        self._loop = asyncio.get_running_loop()
        departures.join(self)
        departures.listen()

    def depart(self) -> Callable[[], object]:
        """Begin to leave, with a second call at once; what is returned waits for the end."""
        if self._loop.is_closed():
            return lambda: None
        stopping = self.stop(self._stay.drain_config.grace)
        left = asyncio.run_coroutine_threadsafe(stopping, self._loop)
        return partial(wait, [left])

    def _bind(self) -> None:
        """The program says where to listen."""


def _listen(address: str, desk: Desk, stay: Stay, server: grpc.Server | grpc.aio.Server) -> int:
    if address.startswith(_LOCAL):
        desk.plaintext = True
        return server.add_insecure_port(address)
    bind = stay.bind if stay.listening is None else stay.bind_also
    return bind(server.add_secure_port, address)


def _tell_replaced(address: str) -> None:
    log.warning("the port at %s has the mesh's certificate in place of the program's", address)
