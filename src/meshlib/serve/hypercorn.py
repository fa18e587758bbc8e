"""
ASGI applications, served by hypercorn: HTTP/1.1, HTTP/2 and websockets over both.

hypercorn reads and writes; who is accepted, and when the server leaves, is as under uvicorn (see
`serve.acceptor` and `serve.tenure`).  Peers choose HTTP/2 by ALPN.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError, repr_socket_addr

from meshlib.errors import ConfigError, MeshError
from meshlib.runtime import new_rng
from meshlib.serve.acceptor import Acceptor, Lenient
from meshlib.serve.admission import Connection
from meshlib.serve.asgi import ASGIApp, MeshASGI
from meshlib.serve.edge import edge_context
from meshlib.serve.hyper_connection import Conversation, Door, from_anywhere, from_mesh
from meshlib.serve.options import ServeOptions
from meshlib.serve.protocols import chosen
from meshlib.serve.sockets import listen
from meshlib.serve.stages import Stage, Stages
from meshlib.serve.tenure import Tenure
from meshlib.trust.tls import MeshContext

log = logging.getLogger("meshlib.serve")

ALPN = ("h2", "http/1.1")


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
        HypercornServer(mesh, options, main, side).run()


class HypercornServer:
    """hypercorn's connections behind its listeners, with a registration, and a way to leave.

    `config` is hypercorn's own, for a program that has one; such a program may have wrapped its
    application somewhere further in, and listen at `more` addresses.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: ServeOptions,
        main: socket.socket,
        side: socket.socket | None = None,
        *,
        config: Config | None = None,
        stages: Stages | None = None,
        more: Sequence[socket.socket] = (),
    ) -> None:
        if options.http == "httptools":
            raise ConfigError("http", options.http, '"auto" or "h11", which hypercorn parses with')
        self._app, self._options, self._main, self._side = app, options, main, side
        self._stages = stages or (app.stages if isinstance(app, MeshASGI) else Stages())
        self._config, self._more = config or _config(options), more
        self._context = MeshContext(
            options.credentials,
            server_side=True,
            authorize=options.authorize,
            clock=options.unix,
            alpn=ALPN,
            min_version=options.oldest_tls,
        )
        self.tenure = Tenure(options, self._stages, self._stop_at_once)
        self._state: dict[str, Any] = {}
        self.servers: list[Acceptor] = []
        self._talking: dict[asyncio.Task[None], Conversation] = {}
        self._startup: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Serve until told to stop; see `serve_asgi`."""
        uvloop = chosen("loop", self._options.loop, fast="uvloop", slow="asyncio") == "uvloop"
        factory = _new_uvloop if uvloop else None
        with self.tenure.signals(), asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self.serve())

    def close(self) -> None:
        """Close the listening sockets."""
        for each in (self._main, *self._more, self._side):
            if each is not None:
                each.close()

    def stop(self) -> None:
        """Begin to leave, or with a second call stop at once.  For any thread."""
        self.tenure.ask()

    async def serve(self) -> None:
        """Start the application, register, serve until asked to stop, and drain."""
        self.tenure.begin()
        self._worker = WorkerContext(_most_requests(self._config))
        lifespan = Lifespan(
            ASGIWrapper(self._app),  # type: ignore[arg-type] # it is less exact about messages
            self._config,
            asyncio.get_running_loop(),
            self._state,
        )
        living = asyncio.create_task(lifespan.handle_lifespan())
        try:
            if await self._started(lifespan, living):
                await self._serve()
                await lifespan.wait_for_shutdown()
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await self.tenure.end()

    async def _serve(self) -> None:
        limits, options = self._options.limits, self._options
        for each in (self._main, *self._more):
            self._accept(each, self._context, from_mesh(limits, options.keep_alive))
        if self._side is not None and options.edge is not None:
            context = edge_context(options.edge, ssl.SSLSocket)
            if context is not None:
                context.set_alpn_protocols(ALPN)
            known = Connection(None, edge=True)
            self._accept(self._side, context, from_anywhere(limits, known))
        for each in (self._main, *self._more):
            bind = repr_socket_addr(each.family, each.getsockname())
            await self._config.log.info("Running on https://%s (CTRL + C to quit)", bind)
        tired = asyncio.create_task(self._leave_when_tired())
        try:
            await self.tenure.hold(self._main, self._side)
        finally:
            tired.cancel()
            await self._close()

    async def _started(self, lifespan: Lifespan, living: asyncio.Task[None]) -> bool:
        """Whether the application has started; not if it is told twice to stop before.

        Raises MeshError.
        """
        self._startup = asyncio.create_task(lifespan.wait_for_startup())
        await asyncio.wait({self._startup})
        if self._startup.cancelled():
            return False
        error = self._startup.exception() or (living.exception() if living.done() else None)
        if isinstance(error, LifespanFailureError | LifespanTimeoutError):
            raise MeshError(
                "the application did not start",
                why=f"its lifespan startup failed: {error}",
                hint='its traceback is in the log "hypercorn.error"',
            ) from error
        return True

    async def _leave_when_tired(self) -> None:
        """After so many requests, where the program's settings say so."""
        await self._worker.terminate.wait()
        self.tenure.ask()

    async def _close(self) -> None:
        """Close idle connections and finish what is in flight."""
        self._stages.advance(Stage.CLOSING)
        for server in self.servers:
            server.close()
            await server.wait_closed()
        await self._worker.terminated.set()
        await asyncio.gather(*(each.leave() for each in self._talking.values()))
        if self._talking:
            await asyncio.wait(self._talking, timeout=self._options.drain.grace)
        for task in self._talking:
            task.cancel()
        if self._talking:
            await asyncio.wait(self._talking)

    def _stop_at_once(self) -> None:
        if self._startup is not None and not self._startup.done():
            self._startup.cancel()
        for task, conversation in self._talking.items():
            conversation.abort()
            task.cancel()

    def _accept(self, listening: socket.socket, context: ssl.SSLContext | None, door: Door) -> None:
        options, lenient = self._options, None
        if context is self._context and options.plaintext is not None:
            plain = from_anywhere(options.limits, Connection(None, plaintext=True))
            lenient = Lenient(options.plaintext, partial(self._protocol, plain))
        protocol = partial(self._protocol, door)
        self.servers.append(Acceptor(listening, protocol, context, options.limits, lenient))

    def _protocol(self, door: Door) -> asyncio.Protocol:
        reader = asyncio.StreamReader()
        return asyncio.StreamReaderProtocol(reader, partial(self._greet, door))

    def _greet(
        self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        conversation = Conversation(
            self._app, self._config, self._worker, self._state, door, reader, writer
        )
        task = asyncio.get_running_loop().create_task(conversation.run())
        self._talking[task] = conversation
        task.add_done_callback(self._parted)

    def _parted(self, task: asyncio.Task[None]) -> None:
        del self._talking[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection has ended with an error", exc_info=error)


def _new_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - not everybody has it

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _most_requests(config: Config) -> int | None:
    """After how many requests a worker makes way for a new one; None: never."""
    if config.max_requests is None:
        return None
    return config.max_requests + new_rng().randint(0, config.max_requests_jitter)


def _config(options: ServeOptions) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.keep_alive_max_requests = sys.maxsize
    config.h11_max_incomplete_size = config.h2_max_header_list_size = options.limits.head_bytes
    config.keep_alive_timeout = options.keep_alive
    return config
