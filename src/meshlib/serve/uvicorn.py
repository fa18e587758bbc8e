"""
ASGI applications, served by uvicorn.

uvicorn's protocols, extended in `serve.protocols`, say who is at the other end of a connection; the
edge listener differs in nothing but what its protocol says of the connection, and in its TLS.

How the server leaves, in this order: deregister, lame duck, refuse keep-alive, finish what is in
flight, end the lease.  A second signal stops at once, a third kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from meshlib.errors import MeshError
from meshlib.serve.acceptor import Acceptor, Lenient
from meshlib.serve.asgi import ASGIApp, MeshASGI
from meshlib.serve.edge import edge_context
from meshlib.serve.options import ServeOptions
from meshlib.serve.protocols import (
    FromEdge,
    FromMesh,
    FromPlaintext,
    Known,
    chosen,
    protocol_class,
)
from meshlib.serve.sockets import BACKLOG, listen
from meshlib.serve.stages import Stage
from meshlib.serve.tenure import Tenure
from meshlib.trust.tls import MeshContext

if TYPE_CHECKING:
    from uvicorn.server import ServerState

_GOODBYE = 1.0
"""Seconds for the peer's half of TLS's goodbye and for the last bytes of the last answer.  A client
with an idle pool does not say goodbye before it uses the connection again; asyncio waits 30 s."""


def serve_asgi(app: ASGIApp | MeshASGI, options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Raises ConfigError (an address in use), IdentityUnavailable, RegistryUnavailable, MeshError
    when the application's startup fails.
    """
    mesh = app if isinstance(app, MeshASGI) else MeshASGI(app, options)
    with contextlib.ExitStack() as sockets:
        main = sockets.enter_context(listen(options.host, options.port, field="port"))
        edge = options.edge
        side = sockets.enter_context(listen(edge.host, edge.port, field="edge")) if edge else None
        AsgiServer(mesh, options, main, side).run()


class AsgiServer(uvicorn.Server):
    """uvicorn with two listeners, a registration, and a way to leave."""

    def __init__(
        self,
        app: MeshASGI,
        options: ServeOptions,
        main: socket.socket,
        side: socket.socket | None = None,
    ) -> None:
        context = MeshContext(
            options.credentials,
            server_side=True,
            authorize=options.authorize,
            clock=options.unix,
            min_version=options.oldest_tls,
        )
        super().__init__(_config(app, options, FromMesh, context))
        self._app, self._options = app, options
        self._main, self._side = main, side
        self._edge_config = _edge_config(app, options)
        self._plain_config = None
        if options.plaintext is not None:
            self._plain_config = _config(app, options, FromPlaintext, None)
        self._tenure = Tenure(options, app.stages, self._stop_at_once)
        self._failure: MeshError | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop; see `serve_asgi`."""
        try:
            super().run(sockets or [self._main])
        except asyncio.CancelledError:
            return  # told twice to stop before the application had started
        except SystemExit as exc:
            if exc.code != STARTUP_FAILURE:
                raise
            raise MeshError(
                "the application did not start",
                why="its lifespan startup failed",
                hint='its traceback is in the log "uvicorn.error"',
            ) from None
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin to leave, or with a second call stop at once.  For any thread."""
        self._tenure.ask()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen, on both listeners."""
        self._task = asyncio.current_task()
        self._tenure.begin()
        del sockets
        await super().startup([])
        self._accept(self._main, self.config, self._lenient())
        if self._side is not None and self._edge_config is not None:
            self._edge_config.load()
            self._accept(self._side, self._edge_config)

    async def main_loop(self) -> None:
        """Register, serve until asked to stop, and drain."""
        ticks = asyncio.create_task(super().main_loop())
        try:
            await self._tenure.hold(self._main, self._side)
        except MeshError as exc:
            self._failure = exc
        self.should_exit = True
        await ticks

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close idle connections, finish what is in flight, end the lease."""
        self._app.stages.advance(Stage.CLOSING)
        goodbye = asyncio.create_task(cut_goodbyes_short(self.server_state))
        await super().shutdown(sockets)
        goodbye.cancel()
        await self._tenure.end()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave on SIGTERM and SIGINT, for as long as the server runs."""
        with self._tenure.signals():
            yield

    def _stop_at_once(self) -> None:
        self.force_exit = True
        if not self.started and self._task is not None:
            self._task.cancel()
        abort_connections(self.server_state)
        for task in list(self.server_state.tasks):
            task.cancel()

    def _accept(
        self, listening: socket.socket, config: uvicorn.Config, lenient: Lenient | None = None
    ) -> None:
        limits, protocol = self._options.limits, partial(self._protocol, config)
        acceptor: Any = Acceptor(listening, protocol, config.ssl, limits, lenient)
        self.servers.append(acceptor)

    def _lenient(self) -> Lenient | None:
        config, mode = self._plain_config, self._options.plaintext
        if config is None or mode is None:
            return None
        config.load()
        return Lenient(mode, partial(self._protocol, config))

    def _protocol(self, config: uvicorn.Config) -> asyncio.Protocol:
        return config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )


async def cut_goodbyes_short(state: ServerState) -> None:
    """Abort what is left of the connections once every answer is out."""
    while state.tasks:
        await asyncio.wait(state.tasks)
    await asyncio.sleep(_GOODBYE)
    abort_connections(state)


def abort_connections(state: ServerState) -> None:
    """End all connections at once."""
    for connection in list(state.connections):
        connection.transport.abort()


def _config(
    app: MeshASGI, options: ServeOptions, known: type[Known], context: ssl.SSLContext | None
) -> uvicorn.Config:
    factory: Callable[[Any, Any], ssl.SSLContext] | None = None
    if context is not None:
        factory = lambda *_: context  # noqa: E731 - mypy narrows it here only
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol_class(options, known),
        loop=chosen("loop", options.loop, fast="uvloop", slow="asyncio"),
        ssl_context_factory=factory,
        backlog=BACKLOG,
        timeout_keep_alive=options.keep_alive,
        timeout_graceful_shutdown=options.drain.grace,  # type: ignore[arg-type] # takes floats
        proxy_headers=False,  # on the mesh only the connection says who calls
        forwarded_allow_ips="",
        server_header=False,
        access_log=False,
        log_config=None,
        workers=1,
    )


def _edge_config(app: MeshASGI, options: ServeOptions) -> uvicorn.Config | None:
    if options.edge is None:
        return None
    return _config(app, options, FromEdge, edge_context(options.edge, ssl.SSLSocket))
