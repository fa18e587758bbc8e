"""
What wraps httpx, and its continuation httpx2.

Their own transports are where a client has done its part; it may hold many of them, one for every
proxy.  Transports of another kind (`MockTransport`, `ASGITransport`) never come here, and those for
a unix socket are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from meshlib.auto import process
from meshlib.auto.outgoing.wraps import Wraps
from meshlib.errors import MeshError

Wrapped = Callable[..., Any]


class HttpxWraps:
    """The wrappers of one module."""

    def __init__(self, library: str, supported: str) -> None:
        self._wraps = Wraps(library, supported)

    def wrap(self, module: Any) -> None:
        """Send requests for services through the mesh.  Raises ConfigError."""
        if self._wraps.fits(module):
            self._wraps.put(module.HTTPTransport, "handle_request", _sync(module))
            self._wraps.put(module.AsyncHTTPTransport, "handle_async_request", _async(module))

    def unwrap(self) -> None:
        """Leave the module as it was."""
        self._wraps.remove()


def _sync(module: ModuleType) -> Callable[..., Any]:
    def handle(wrapped: Wrapped, transport: Any, args: Any, kwargs: Any) -> Any:
        if _is_unix(transport):
            return wrapped(*args, **kwargs)
        request = _request(*args, **kwargs)
        try:
            meaning = process.meaning()
            service = meaning.service_of(*_where(request))
        except MeshError as exc:
            raise _told(module, exc) from exc
        if service is None:
            return wrapped(*args, **kwargs)
        return _face(module).transport(meaning.stack, service).handle_request(request)

    return handle


def _async(module: ModuleType) -> Callable[..., Any]:
    async def handle(wrapped: Wrapped, transport: Any, args: Any, kwargs: Any) -> Any:
        if _is_unix(transport):
            return await wrapped(*args, **kwargs)
        request = _request(*args, **kwargs)
        try:
            meaning = process.meaning()
            service = await meaning.service_of_loop(*_where(request))
        except MeshError as exc:
            raise _told(module, exc) from exc
        if service is None:
            return await wrapped(*args, **kwargs)
        through = _face(module).async_transport(meaning.stack_of_loop, service)
        return await through.handle_async_request(request)

    return handle


def _request(request: Any) -> Any:
    """The one argument, which may be given by name."""
    return request


def _where(request: Any) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port


def _is_unix(transport: Any) -> bool:
    return getattr(getattr(transport, "_pool", None), "_uds", None) is not None


def _face(module: ModuleType) -> Any:
    from meshlib.adapters.httpx import face

    return face(module)


def _told(module: ModuleType, error: MeshError) -> Exception:
    return _face(module).errors.translated(error)  # type: ignore[no-any-return]
