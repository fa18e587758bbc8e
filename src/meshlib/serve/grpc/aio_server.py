"""
`MeshAioServer`: a `grpc.aio.Server` that serves peers of the mesh; see `serve.grpc.server`.

    server = mesh.grpc_aio_server()
    add_CatalogServicer_to_server(Catalog(), server)
    await server.run()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from meshlib.errors import MeshError
from meshlib.serve.grpc.built import must_be_bare, new_loop_server, preceding
from meshlib.serve.grpc.guard import Guard
from meshlib.serve.grpc.health import Health, loop_servicer, serving
from meshlib.serve.grpc.loops import LoopInterceptor, Loops
from meshlib.serve.grpc.rpcs import Desk
from meshlib.serve.grpc.server import leaving_on_signals, must_be_new, no_other_port
from meshlib.serve.grpc.stay import Stay
from meshlib.serve.stages import Stage

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from meshlib.serve.grpc.handlers import Handler
    from meshlib.serve.options import Listening, ServeOptions


class MeshAioServer(grpc.aio.Server):
    """See the module; `server` is one that exists and is bare, or the pool of a new one.

    Raises ConfigError, MeshError.
    """

    def __init__(
        self,
        options: Callable[[], ServeOptions],
        server: grpc.aio.Server | ThreadPoolExecutor | None = None,
        /,
        **said: Any,
    ) -> None:
        desk = self._desk = Desk(options)
        self._stay = Stay(desk)
        loops = Loops(desk)
        self._health = Health(loop_servicer(), loops.admitted)
        self._services: set[str] = set()
        self._hurry, self._left = asyncio.Event(), asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None
        self._guard: Guard | None = Guard(loops.around, self._health)
        self._server = self._made(server, self._guard, said)

    def _made(
        self,
        server: grpc.aio.Server | ThreadPoolExecutor | None,
        guard: Guard,
        said: dict[str, Any],
    ) -> grpc.aio.Server:
        if isinstance(server, grpc.aio.Server):
            if said:
                must_be_new(said)
            must_be_bare(server)
            server.add_generic_rpc_handlers((guard,))
            return server
        if said.get("interceptors"):
            self._guard = None
            said = preceding(LoopInterceptor(self._desk, self._health), said)
        else:
            said = guard.all_of(said)
        return new_loop_server(server, self._desk.options, said)

    @property
    def listening(self) -> Listening | None:
        """Where it can be reached; None as long as it has no port."""
        return self._stay.listening

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """As `grpc.aio.Server` does."""
        if self._guard is None:
            self._server.add_generic_rpc_handlers(tuple(generic_rpc_handlers))
        else:
            self._guard.add(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """As `grpc.aio.Server` does; the health service knows the service from now on."""
        self._services.add(service_name)
        if self._guard is not None:
            method_handlers = self._guard.guarded(service_name, method_handlers)
        self._server.add_registered_method_handlers(service_name, dict(method_handlers))

    def add_mesh_port(self, address: str) -> int:
        """Listen at "host:port" with mutual TLS; returns the port, port 0 takes any free one.

        Without it the server listens where the settings say.  Raises ConfigError.
        """
        return self._stay.bind(self._server.add_secure_port, address)

    def add_insecure_port(self, address: str) -> NoReturn:
        """Refuse: peers of the mesh come by `add_mesh_port`, others by the edge."""
        raise no_other_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> NoReturn:
        """Refuse, for the same reason."""
        raise no_other_port(address)

    async def start(self) -> None:
        """Listen, serve and register; returns once the instance can be found.

        Raises ConfigError, IdentityUnavailable, RegistryUnavailable.
        """
        self._bind()
        self._stay.bind_edge(self._server.add_insecure_port)
        if self._health.servicer is not None:
            for service in self._services:
                await self._health.servicer.set(service, serving())
        await self._server.start()
        try:
            await asyncio.to_thread(self._stay.announce)
        except MeshError:
            await self._server.stop(None)
            raise

    async def stop(self, grace: float | None) -> None:
        """Leave; returns when all is over.

        RPCs in flight get `grace` seconds.  With None, and with a second call, nobody waits for
        anything: RPCs are cut off.
        """
        if grace is None or self._leaving is not None:
            self._hurry.set()
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(grace))
        elif not self._left.is_set():
            await self._server.stop(grace)
        await asyncio.shield(self._leaving)

    async def wait_for_termination(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is grpcio's
    ) -> bool:
        """Wait until the server has left; whether it has."""
        ended: bool = await self._server.wait_for_termination(timeout)
        if ended and self._leaving is not None:
            await asyncio.wait((self._leaving,), timeout=timeout)
        return ended

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then drain, and return.

        A second signal stops at once, a third kills.  Raises what `start` raises.
        """
        loop, stops = asyncio.get_running_loop(), set()

        def leave(grace: float | None) -> None:
            stops.add(loop.create_task(self.stop(grace)))

        def told(times: int) -> None:
            grace = self._stay.drain_config.grace if times == 1 else None
            loop.call_soon_threadsafe(leave, grace)

        with leaving_on_signals(told):
            await self.start()
            await self.wait_for_termination()
            await asyncio.gather(*stops)

    def _bind(self) -> None:
        if self._stay.listening is None:
            self._stay.bind(self._server.add_secure_port)

    async def _leave(self, grace: float | None) -> None:
        if self._health.servicer is not None:
            await self._health.servicer.enter_graceful_shutdown()
        await asyncio.to_thread(self._stay.drain)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._stay.drain_config.lame_duck)
        self._desk.stages.advance(Stage.CLOSING)
        await self._server.stop(None if self._hurry.is_set() else grace)
        await asyncio.to_thread(self._stay.leave)
        self._left.set()
