"""
requests: every adapter of requests' own, whoever mounted it.

`HTTPAdapter.send` is where a session has done its part: cookies, authentication, redirects and
hooks are behind it, connections before it.  Adapters of another kind never come here.  An adapter's
rules for retries are told that they have been used up, as in `meshlib.auto.outgoing.urllib3`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshlib.auto import process
from meshlib.auto.outgoing.where import Where
from meshlib.auto.outgoing.wraps import Wraps
from meshlib.errors import MeshError
from meshlib.stack.service import CallService

SUPPORTED = ">=2.30,<3"

_wraps = Wraps("requests", SUPPORTED)


def wrap(module: Any) -> None:
    """Send requests for services through the mesh.  Raises ConfigError."""
    if _wraps.fits(module):
        _wraps.put(module.adapters.HTTPAdapter, "send", _send)


def unwrap() -> None:
    """Leave requests as it was."""
    _wraps.remove()


def _send(
    wrapped: Callable[..., Any], adapter: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = args[0] if args else kwargs["request"]
    where = Where.of(str(request.url))
    try:
        meaning = process.meaning()
        service = meaning.service_of(where.scheme, where.host, where.port)
    except MeshError as exc:
        raise _told(exc, request) from exc
    if service is None:
        return wrapped(*args, **kwargs)
    return _exchange(adapter, meaning.stack(service), service, *args, **kwargs)


def _told(error: MeshError, request: Any) -> Exception:
    from meshlib.adapters.requests import told

    return told(error, request)


def _exchange(
    adapter: Any,
    stack: CallService,
    service: str,
    request: Any,
    _stream: object = None,
    timeout: Any = None,
    *_: Any,
    **__: Any,
) -> Any:
    """The mesh's answer; certificates and proxies are its own affair."""
    from meshlib.adapters.requests import exchange, translated

    with translated(request):
        response = exchange(adapter, stack, service, request, timeout)
    _judge(adapter, response)
    return response


def _judge(adapter: Any, response: Any) -> None:
    """Raise what the adapter would have ended with where its rules have this status repeated."""
    rules = adapter.max_retries
    status, again = response.status_code, "Retry-After" in response.headers
    method = response.request.method
    if not (rules.raise_on_status and rules.is_retry(method, status, again)):
        return
    from requests.exceptions import RetryError
    from urllib3.exceptions import MaxRetryError, ResponseError

    response.close()
    reason = ResponseError(ResponseError.SPECIFIC_ERROR.format(status_code=status))
    pool = adapter.poolmanager.connection_from_url(response.url)
    used_up = MaxRetryError(pool, response.url, reason)
    raise RetryError(used_up, request=response.request)
