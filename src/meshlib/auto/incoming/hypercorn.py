"""
hypercorn: whatever it serves on asyncio or uvloop is served in the mesh, at the program's address.

The program's settings are kept, but for these: the mesh's mutual TLS takes the place of certificate
files, HTTP/2 is spoken where a peer asks for it by ALPN, a keep-alive of 5 s (hypercorn's default)
is 60 s, and nothing listens at `insecure_bind` or `quic_bind`.  A unix socket and trio are refused.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from copy import copy
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from meshlib.auto.incoming import hosted
from meshlib.auto.outgoing.wraps import Wraps
from meshlib.errors import ConfigError, MeshError
from meshlib.serve.options import DrainConfig, PeerLimits

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config, Sockets

    from meshlib.serve.asgi import ASGIApp
    from meshlib.serve.hypercorn import HypercornServer

SUPPORTED = ">=0.17,<0.19"
_KEEP_ALIVE = 5
"""hypercorn's default, in seconds."""
_LEAST = 0.001

_wraps = Wraps("hypercorn", SUPPORTED)


def wrap() -> None:
    """Serve in the mesh from now on: servers that have not started yet."""
    # by name: each may be in the middle of its import, and not yet known to its package
    if hosted.fits("hypercorn", SUPPORTED):
        for module in ("hypercorn.asyncio", "hypercorn.asyncio.run"):
            _wraps.put(import_module(module), "worker_serve", _worker_serve)
        _wraps.put(import_module("hypercorn.run"), "run", _run)


def unwrap() -> None:
    """Leave hypercorn as it was; servers that have started go on as they did."""
    _wraps.remove()


async def _worker_serve(wrapped: Any, _: object, args: Any, kwargs: Any) -> None:
    del wrapped
    await _serve(*args, **kwargs)


async def _serve(
    app: Callable[..., Awaitable[None]],
    config: Config,
    *,
    sockets: Sockets | None = None,
    shutdown_trigger: Callable[..., Awaitable[None]] | None = None,
) -> None:
    """What hypercorn's own does, in the mesh."""
    try:
        server = await asyncio.to_thread(_server, app, config, sockets)
        with server.tenure.signals() if shutdown_trigger is None else nullcontext():
            triggered = asyncio.create_task(_stop(server, shutdown_trigger))
            try:
                await server.serve()
            finally:
                triggered.cancel()
                server.close()
    except MeshError as exc:
        hosted.give_up(exc)


async def _stop(server: HypercornServer, trigger: Callable[..., Awaitable[None]] | None) -> None:
    if trigger is not None:
        await trigger()
        server.stop()


def _server(app: Any, config: Config, sockets: Sockets | None) -> HypercornServer:
    from hypercorn.asyncio.statsd import StatsdLogger

    from meshlib.serve.hypercorn import HypercornServer

    main, *more = _bound(config, sockets)
    own = copy(config)
    own._quic_addresses = []  # noqa: SLF001 - else each answer tells of a QUIC that is not there
    own.set_statsd_logger_class(StatsdLogger)
    if own.keep_alive_timeout == _KEEP_ALIVE:
        own.keep_alive_timeout = hosted.KEEP_ALIVE
    options = hosted.options_of(
        *main.getsockname()[:2],
        drain=DrainConfig(grace=max(config.graceful_timeout, _LEAST)),
        limits=PeerLimits(head_bytes=max(config.h11_max_incomplete_size, 1024)),
        keep_alive=max(1, int(own.keep_alive_timeout)),
    )
    wrapped, stages = hosted.asgi_of(_asgi(app), options)
    side = hosted.edge_listening(options)
    return HypercornServer(wrapped, options, main, side, config=own, stages=stages, more=more)


def _asgi(app: Any) -> ASGIApp:
    """What hypercorn makes of an ASGI or WSGI application, as ASGI."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()

        def call_soon(function: Callable[..., Any], *args: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(function(*args), loop).result()

        await app(scope, receive, send, partial(loop.run_in_executor, None), call_soon)

    asgi.app = getattr(app, "app", None)  # type: ignore[attr-defined] # to be found within
    return asgi


def _bound(config: Config, sockets: Sockets | None) -> list[socket.socket]:
    """The program's own listening sockets.  Raises ConfigError for what is no TCP address."""
    sockets = sockets or config.create_sockets()
    mains = sockets.insecure_sockets
    if config.ssl_enabled:
        mains = sockets.secure_sockets
        hosted.dropped("hypercorn", ["its own TLS", *_others(config)])
        for each in (*sockets.insecure_sockets, *sockets.quic_sockets):
            each.close()
    return [hosted.listening(each, config.backlog) for each in mains]


def _others(config: Config) -> list[str]:
    names = ("insecure_bind", "quic_bind")
    return [name for name in names if getattr(config, name)]


def _run(wrapped: Any, _: object, args: Any, kwargs: Any) -> Any:
    config: Config = args[0] if args else kwargs["config"]
    if config.worker_class == "trio":
        hosted.give_up(ConfigError("worker_class", "trio", '"asyncio" or "uvloop" in the mesh'))
    return wrapped(*args, **kwargs)
