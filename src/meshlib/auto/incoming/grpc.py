"""
`grpc.server` and `grpc.aio.server`: what a program makes of them serves peers of the mesh.

An instance is one address: the first server of a process is the service, others serve peers of the
mesh as well, and nobody is told where they are.
"""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from meshlib.auto import process
from meshlib.auto.outgoing.wraps import Wraps
from meshlib.auto.versions import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshlib.serve.options import Lease, ServeOptions

log = logging.getLogger("meshlib.auto")

SUPPORTED = ">=1.66,<2"

_wraps = Wraps("grpcio", SUPPORTED)


def wrap() -> None:
    """Serve in the mesh from now on: servers that are not made yet."""
    import grpc.aio

    if not within(grpc.__version__, SUPPORTED):
        told = "grpcio %s cannot be wrapped, and does not serve in the mesh: %s is needed"
        log.error(told, grpc.__version__, SUPPORTED)
        return
    _wraps.put(grpc, "server", _server)
    _wraps.put(grpc.aio, "server", _aio_server)


def unwrap() -> None:
    """Leave grpcio as it was; servers that were made go on as they did."""
    _wraps.remove()


def _server(
    wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    from meshlib.serve.grpc.adopted import AdoptedServer

    server = wrapped(*args, **kwargs)
    if _is_guarded(wrapped, args, kwargs):
        return server
    return AdoptedServer(_options, server)


def _aio_server(
    wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    from meshlib.serve.grpc.adopted import AdoptedAioServer

    if _is_guarded(wrapped, args, kwargs):
        return wrapped(*args, **kwargs)

    def make(first: Any) -> Any:
        bound = inspect.signature(wrapped).bind(*args, **kwargs)
        bound.arguments["interceptors"] = (first, *(bound.arguments.get("interceptors") or ()))
        return wrapped(*bound.args, **bound.kwargs)

    return AdoptedAioServer(_options, make)


def _is_guarded(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether it is the mesh itself that makes a server."""
    given = inspect.signature(wrapped).bind(*args, **kwargs).arguments.get("interceptors")
    first = next(iter(given or ()), None)
    return type(first).__module__.startswith("meshlib.")


def _options() -> ServeOptions:
    mesh = process.current()
    options = mesh._serve_options("grpc", edge=mesh.settings.edge or None)  # noqa: SLF001 - ours
    return _only.first(options)


class _Only:
    """Registers one server at a time."""

    def __init__(self) -> None:
        self._held = False

    def first(self, options: ServeOptions) -> ServeOptions:
        """The options of a server that registers if it is the first one."""
        from dataclasses import replace

        return replace(options, register=partial(self._register, options.register))

    def _register(self, register: Callable[[str, int], Lease], host: str, port: int) -> Lease:
        if self._held:
            log.warning("the gRPC server at %s:%d is not the first, and not registered", host, port)
            return _Nothing()
        lease = register(host, port)
        self._held = True
        return _Held(lease, self._released)

    def _released(self) -> None:
        self._held = False


class _Held:
    """A lease; when it ends another server may have one."""

    def __init__(self, lease: Lease, released: Callable[[], None]) -> None:
        self._lease, self._released = lease, released

    def drain(self) -> None:
        """As the lease does."""
        self._lease.drain()

    def close(self) -> None:
        """As the lease does."""
        self._released()
        self._lease.close()


class _Nothing:
    """The lease of a server that nobody is told of."""

    def drain(self) -> None:
        """Nobody knows of it."""

    def close(self) -> None:
        """Nobody knows of it."""


_only = _Only()
