"""
uvicorn: whatever runs a `uvicorn.Server` serves in the mesh, at the program's own address.

All of the program's settings are kept, but for these: the mesh's mutual TLS takes the place of
certificate files, a keep-alive of 5 s (uvicorn's default) is 60 s, and the protocol must be h11 or
httptools.  A unix socket is refused.
"""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from meshlib.auto.incoming import hosted
from meshlib.auto.outgoing.wraps import Wraps, is_ours
from meshlib.errors import ConfigError, MeshError
from meshlib.serve.acceptor import Acceptor, Lenient
from meshlib.serve.options import PeerLimits
from meshlib.serve.protocols import FromEdge, FromMesh, FromPlaintext, Known, extended
from meshlib.serve.stages import Stage
from meshlib.serve.tenure import Tenure
from meshlib.trust.tls import MeshContext

if TYPE_CHECKING:
    import socket
    import ssl

    import uvicorn

SUPPORTED = ">=0.36,<0.55"
_KEEP_ALIVE = 5
"""uvicorn's default, in seconds."""
_OURS = "_meshlib"

_wraps = Wraps("uvicorn", SUPPORTED)


def wrap() -> None:
    """Serve in the mesh from now on: servers that have not started yet."""
    # by name: it may be in the middle of its import, and not yet known to its package
    if hosted.fits("uvicorn", SUPPORTED):
        server = import_module("uvicorn.server").Server
        _wraps.put(server, "startup", _startup)
        _wraps.put(server, "main_loop", _main_loop)
        _wraps.put(server, "shutdown", _shutdown)


def unwrap() -> None:
    """Leave uvicorn as it was; servers that have started go on as they did."""
    _wraps.remove()


class Hosted:
    """One server of the program's, as an instance of the mesh."""

    def __init__(self, server: uvicorn.Server, sockets: list[socket.socket] | None) -> None:
        config = server.config
        self.server = server
        self.options = hosted.options_of(config.host, config.port)
        self.context = MeshContext(
            self.options.credentials,
            server_side=True,
            authorize=self.options.authorize,
            clock=self.options.unix,
            min_version=self.options.oldest_tls,
        )
        self.app, self.stages = hosted.asgi_of(config.loaded_app, self.options)
        self._adapt(config)
        self.sockets = _bound(config, sockets)
        self.side = hosted.edge_listening(self.options)
        self.tenure = Tenure(self.options, self.stages)
        self.failure: MeshError | None = None

    def accept(self) -> None:
        """Let connections in, on all listeners."""
        for each in self.sockets:
            self._accept(each, FromMesh, self.context)
        if self.side is not None:
            self._accept(self.side, FromEdge, None)

    async def shutdown(self, finish: Any) -> None:
        """Finish what is in flight, and end the lease."""
        from meshlib.serve.uvicorn import cut_goodbyes_short

        self.stages.advance(Stage.CLOSING)
        goodbye = asyncio.create_task(cut_goodbyes_short(self.server.server_state))
        await finish()
        goodbye.cancel()
        if self.side is not None:
            self.side.close()
        await self.tenure.end()
        if self.failure is not None:
            hosted.give_up(self.failure)

    def _adapt(self, config: uvicorn.Config) -> None:
        if config.is_ssl:
            hosted.dropped("uvicorn", ["its own TLS"])
        config.ssl = self.context
        config.ssl_context_factory = lambda *_: self.context  # its log says https
        config.loaded_app = self.app
        if config.timeout_keep_alive == _KEEP_ALIVE:
            config.timeout_keep_alive = hosted.KEEP_ALIVE
        self._base = config.http_protocol_class

    def _accept(
        self, listening: socket.socket, known: type[Known], context: ssl.SSLContext | None
    ) -> None:
        lenient = None
        if context is not None and self.options.plaintext is not None:
            lenient = Lenient(self.options.plaintext, self._protocol(FromPlaintext))
        acceptor: Any = Acceptor(
            listening, self._protocol(known), context, self.options.limits, lenient
        )
        self.server.servers.append(acceptor)

    def _protocol(self, known: type[Known]) -> Any:
        made: Any = extended(self._base, self.options.limits, known)
        server = self.server
        return partial(
            made,
            config=server.config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )


async def _startup(wrapped: Any, server: Any, args: Any, kwargs: Any) -> None:
    if is_ours(server):
        await wrapped(*args, **kwargs)
        return
    sockets = args[0] if args else kwargs.get("sockets")
    try:
        _refuse_other_parsers(server.config)
        ours = await asyncio.to_thread(Hosted, server, sockets)
    except MeshError as exc:
        hosted.give_up(exc)
    await wrapped([])
    vars(server)[_OURS] = ours
    ours.accept()


async def _main_loop(wrapped: Any, server: Any, args: Any, kwargs: Any) -> None:
    ours: Hosted | None = vars(server).get(_OURS)
    if ours is None:
        await wrapped(*args, **kwargs)
        return
    try:
        await ours.tenure.register(ours.sockets[0], ours.side)
    except MeshError as exc:
        ours.failure, server.should_exit = exc, True
        return
    await wrapped(*args, **kwargs)
    if not server.force_exit:
        await ours.tenure.drain()


async def _shutdown(wrapped: Any, server: Any, args: Any, kwargs: Any) -> None:
    ours: Hosted | None = vars(server).pop(_OURS, None)
    if ours is None:
        await wrapped(*args, **kwargs)
    else:
        await ours.shutdown(partial(wrapped, ours.sockets))


def _refuse_other_parsers(config: uvicorn.Config) -> None:
    """Before anything is bound."""
    extended(config.http_protocol_class, PeerLimits(), FromMesh)


def _bound(config: uvicorn.Config, sockets: list[socket.socket] | None) -> list[socket.socket]:
    """The program's own listening sockets.  Raises ConfigError for what is no TCP address."""
    if sockets is None and config.uds is not None:
        raise ConfigError("uds", config.uds, "a host and a port, where peers can reach it")
    if sockets is None and config.fd is not None:
        sockets = [hosted.inherited(config.fd)]
    return [hosted.listening(each, config.backlog) for each in sockets or [config.bind_socket()]]
