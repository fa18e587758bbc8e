"""
aiohttp: what every session asks its connector for.

A request for a service gets a connection of the mesh, and becomes one that knows how to use it.
Cookies, redirects, middlewares and responses are the session's own.  Connectors of another kind
(`UnixConnector`) are left alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshlib.auto import process
from meshlib.auto.outgoing.wraps import Wraps, is_ours
from meshlib.errors import MeshError

if TYPE_CHECKING:
    from meshlib.mesh import Mesh

SUPPORTED = ">=3.14,<4"

_wraps = Wraps("aiohttp", SUPPORTED)


def wrap(module: Any) -> None:
    """Send requests for services through the mesh.  Raises ConfigError."""
    if _wraps.fits(module):
        _wraps.put(module.BaseConnector, "connect", _connect)


def unwrap() -> None:
    """Leave aiohttp as it was."""
    _wraps.remove()


async def _connect(
    wrapped: Callable[..., Any], connector: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    import aiohttp

    if is_ours(connector) or not isinstance(connector, aiohttp.TCPConnector):
        return await wrapped(*args, **kwargs)
    request = args[0] if args else kwargs["req"]
    url = request.url
    try:
        meaning = process.meaning()
        service = await meaning.service_of_loop(url.scheme, url.host or "", url.explicit_port)
    except MeshError as exc:
        raise _told(exc, request) from exc
    if service is None:
        return await wrapped(*args, **kwargs)
    return await _connection(meaning.mesh, service, *args, **kwargs)


async def _connection(mesh: Mesh, service: str, req: Any, *args: Any, **kwargs: Any) -> Any:
    from meshlib.adapters.aiohttp import MeshConnector

    req.__class__ = _requests_of(mesh, service)  # it was made before anybody knew
    return await MeshConnector().connect(req, *args, **kwargs)


@functools.lru_cache(maxsize=256)
def _requests_of(mesh: Mesh, service: str) -> type:
    """A class is not made anew for each request."""
    from meshlib.adapters.aiohttp import request_class

    return request_class(mesh._services_of_loop, service)  # noqa: SLF001 - as faces are made


def _told(error: MeshError, request: Any) -> Exception:
    from meshlib.adapters.aiohttp_errors import told

    return told(error, key=request.connection_key)
