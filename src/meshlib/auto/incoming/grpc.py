"""
`grpc.server` and `grpc.aio.server`: what a program makes of them serves peers of the mesh.

Each of them is an instance of its own, and so is a server of another kind beside them.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from meshlib.auto import process
from meshlib.auto.outgoing.wraps import Wraps
from meshlib.auto.versions import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshlib.serve.options import ServeOptions

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
    said = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    firsts = (next(iter(said.get(each) or ()), None) for each in ("interceptors", "handlers"))
    return any(type(first).__module__.startswith("meshlib.") for first in firsts)


def _options() -> ServeOptions:
    mesh = process.current()
    return mesh._serve_options("grpc", edge=mesh.settings.edge or None)  # noqa: SLF001 - ours
