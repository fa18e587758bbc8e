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
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from meshlib.errors import MeshError
from meshlib.serve.acceptor import Acceptor
from meshlib.serve.asgi import ASGIApp, MeshASGI
from meshlib.serve.edge import edge_context
from meshlib.serve.leave import tell
from meshlib.serve.options import Lease, Listening, ServeOptions
from meshlib.serve.protocols import FromEdge, FromMesh, Known, chosen, protocol_class
from meshlib.serve.sockets import BACKLOG, address_of, listen
from meshlib.serve.stages import Stage
from meshlib.trust.tls import MeshContext

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
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
        self._lease: Lease | None = None
        self._failure: MeshError | None = None
        self._signals = 0
        self._leaving: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
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
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._asked_to_stop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen, on both listeners."""
        self._loop, self._leaving = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.current_task()
        del sockets
        await super().startup([])
        self._accept(self._main, self.config)
        if self._side is not None and self._edge_config is not None:
            self._edge_config.load()
            self._accept(self._side, self._edge_config)

    async def main_loop(self) -> None:
        """Register, serve until asked to stop, and drain."""
        assert self._leaving is not None  # noqa: S101 - made by startup
        ticks = asyncio.create_task(super().main_loop())
        try:
            await self._register()
            await self._leaving.wait()
            await self._drain()
        except MeshError as exc:
            self._failure = exc
        self.should_exit = True
        await ticks

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close idle connections, finish what is in flight, end the lease."""
        self._app.stages.advance(Stage.CLOSING)
        goodbye = asyncio.create_task(self._cut_goodbyes_short())
        await super().shutdown(sockets)
        goodbye.cancel()
        if self._lease is not None:
            await asyncio.to_thread(tell, self._lease.close, self._options.drain.deregister)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave on SIGTERM and SIGINT, for as long as the server runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hear a signal; after the second one a third finds nobody in its way."""
        del sig, frame
        self._signals += 1
        if self._signals > 1:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
        self.stop()

    async def _register(self) -> None:
        host, port = address_of(self._main)
        self._lease = await asyncio.to_thread(self._options.register, host, port)
        side = address_of(self._side) if self._side is not None else None
        self._options.started(Listening(host, port, side))

    async def _drain(self) -> None:
        drain, stages = self._options.drain, self._app.stages
        if self.force_exit:
            return
        stages.advance(Stage.LAME_DUCK)
        if self._lease is not None:
            await asyncio.to_thread(tell, self._lease.drain, drain.deregister)
        self._leaving = asyncio.Event()  # from now on: hurry
        if not self.force_exit:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), drain.lame_duck)

    async def _cut_goodbyes_short(self) -> None:
        """Abort what is left of the connections once every answer is out."""
        while self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
        await asyncio.sleep(_GOODBYE)
        self._abort_connections()

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _asked_to_stop(self) -> None:
        assert self._leaving is not None  # noqa: S101 - there is a loop, so startup has begun
        if self._app.stages.draining or self._leaving.is_set():
            self._stop_at_once()
        self._leaving.set()

    def _stop_at_once(self) -> None:
        self.force_exit = True
        self._app.stages.advance(Stage.CLOSING)
        if not self.started and self._task is not None:
            self._task.cancel()
        self._abort_connections()
        for task in list(self.server_state.tasks):
            task.cancel()

    def _accept(self, listening: socket.socket, config: uvicorn.Config) -> None:
        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        limits = self._options.limits
        acceptor: Any = Acceptor(listening, protocol, config.ssl, limits)
        self.servers.append(acceptor)


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
