"""
urllib.request: the handlers of http and https that every opener has.

Redirects, cookies, authentication, and `HTTPError` for statuses from 300 on, are other handlers'.
A proxy is asked for foreign addresses only.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from meshlib.auto import process
from meshlib.auto.outgoing.where import Where
from meshlib.auto.outgoing.wraps import Wraps, is_ours
from meshlib.errors import MeshError

SUPPORTED = ">=3.11,<4"

_wraps = Wraps("urllib.request", SUPPORTED)


def wrap(module: Any) -> None:
    """Send requests for services through the mesh.  Raises ConfigError."""
    if _wraps.fits(SimpleNamespace(__version__=platform.python_version())):
        _wraps.put(module.HTTPHandler, "http_open", _open)
        if hasattr(module, "HTTPSHandler"):  # a Python without ssl has none
            _wraps.put(module.HTTPSHandler, "https_open", _open)


def unwrap() -> None:
    """Leave urllib.request as it was."""
    _wraps.remove()


def _open(
    wrapped: Callable[..., Any], handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if is_ours(handler):
        return wrapped(*args, **kwargs)
    request = args[0] if args else kwargs["req"]
    where = Where.of(request.full_url)
    try:
        meaning = process.meaning()
        service = meaning.service_of(where.scheme, where.host, where.port)
    except MeshError as exc:
        raise _told(exc) from exc
    if service is None:
        return wrapped(*args, **kwargs)
    from meshlib.adapters.urllib_request import open_request

    return open_request(meaning.stack(service), service, request)


def _told(error: MeshError) -> Exception:
    from meshlib.adapters.urllib_request_errors import ERRORS

    return ERRORS.translated(error)
