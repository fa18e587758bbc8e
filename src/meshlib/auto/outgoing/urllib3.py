"""
urllib3: every pool, whether a `PoolManager` made it, a proxy stands behind it, or nobody.

A `Retry` of the program does not multiply the mesh's own: what failed on the wire is repeated by
the mesh alone.  Its rules for statuses are told that they have been used up, which is an error
where `raise_on_status` says so.  Redirects are followed as it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshlib.auto import process
from meshlib.auto.outgoing.where import Where
from meshlib.auto.outgoing.wraps import Wraps, is_ours

SUPPORTED = ">=2.2,<3"

_wraps = Wraps("urllib3", SUPPORTED)


def wrap(module: Any) -> None:
    """Send requests for services through the mesh.  Raises ConfigError."""
    if _wraps.fits(module):
        _wraps.put(module.HTTPConnectionPool, "urlopen", _urlopen)


def unwrap() -> None:
    """Leave urllib3 as it was."""
    _wraps.remove()


def _urlopen(
    wrapped: Callable[..., Any], pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if is_ours(pool):
        return wrapped(*args, **kwargs)
    answer = _answer(pool, *args, **kwargs)
    return wrapped(*args, **kwargs) if answer is None else answer


def _answer(pool: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
    """The mesh's; None if it is not its business."""
    from meshlib.adapters.urllib3_errors import ERRORS
    from meshlib.errors import MeshError

    where = _where(pool, url)
    try:
        meaning = process.meaning()
        service = meaning.service_of(where.scheme, where.host, where.port)
    except MeshError as exc:
        raise ERRORS.translated(exc) from exc
    if service is None:
        return None
    from meshlib.auto.outgoing.urllib3_pool import AutoPool

    through = AutoPool(meaning.stack(service), service, pool, where)
    return through.urlopen(method, url, *args, **kwargs)


def _where(pool: Any, url: str) -> Where:
    """An absolute URL is what a proxy is asked for."""
    if pool.proxy is not None and "://" in url:
        return Where.of(url)
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    return Where(pool.scheme, pool.host, pool.port, _authority(pool.scheme, host, pool.port))


def _authority(scheme: str, host: str, port: int | None) -> str:
    """As http.client writes it: without the port that goes without saying."""
    silent = port is None or port == {"http": 80, "https": 443}.get(scheme)
    return host if silent else f"{host}:{port}"
