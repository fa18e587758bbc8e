"""
The requests face: an adapter to mount in a `requests.Session`.

requests keeps its own sessions, cookies, authentication, redirects and hooks; what it asks of the
network it asks of the mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ProtocolError
from urllib3.util import Retry, Timeout

from meshlib.adapters.naming import service_of
from meshlib.adapters.requests_errors import ERRORS
from meshlib.adapters.urllib3 import Services, describe, response_of
from meshlib.errors import MeshError
from meshlib.runtime import run_sync
from meshlib.stack.service import CallService

_NOT_AGAIN = Retry(0, read=False)
"""What requests says to urllib3 by itself; nothing changes it, so that one serves all."""


class MeshAdapter(HTTPAdapter):
    """Sends every request to the service its URL names."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - requests' own signature
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - the same
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Call the service.  Raises our errors, each of which is one of requests' as well."""
        with translated(request):
            url = urlsplit(str(request.url))
            service = service_of(url.scheme, url.hostname or "", url.port, url.path)
            return exchange(self, self._services(service), service, request, timeout)

    def request_url(self, request: requests.PreparedRequest, proxies: object) -> str:
        """The path and query: there is no proxy on the way, whatever is said of one."""
        del proxies
        url = request.path_url
        # what becomes of two slashes differs from version to version
        return super().request_url(request, {}) if url.startswith("//") else url


@contextmanager
def translated(request: requests.PreparedRequest) -> Iterator[None]:
    """Raise our errors as those of requests that they are as well."""
    try:
        yield
    except MeshError as exc:
        raise told(exc, request) from exc
    except ProtocolError as exc:
        raise requests.ConnectionError(exc, request=request) from exc


def exchange(
    adapter: HTTPAdapter,
    stack: CallService,
    service: str,
    request: requests.PreparedRequest,
    timeout: Any,
) -> requests.Response:
    """Send a request to `service`, and have the adapter make a response of the reply."""
    path = adapter.request_url(request, None)
    method = str(request.method)
    authority = urlsplit(str(request.url)).netloc.rpartition("@")[2]
    limits = _limits(timeout)
    call = describe(service, method, path, request.body, request.headers, limits, authority)
    response = response_of(
        run_sync(stack(call)),
        request_method=method,
        request_url=path,
        retries=_NOT_AGAIN,
        preload_content=False,
        decode_content=False,
    )
    return adapter.build_response(request, response)


def _limits(timeout: Any) -> Any:
    """As requests has it: one number for both, or a pair."""
    return Timeout(*_pair(timeout)) if isinstance(timeout, tuple) else timeout


def _pair(timeout: tuple[Any, ...]) -> tuple[None, Any, Any]:
    try:
        connect, read = timeout
    except ValueError:
        message = f"timeout={timeout!r}: expected one number of seconds, or (connect, read)"
        raise ValueError(message) from None
    return None, connect, read


def told(error: MeshError, request: requests.PreparedRequest) -> Exception:
    """Our error as one of requests'."""
    twin = ERRORS.translated(error)
    twin.request = request  # type: ignore[attr-defined]  # requests' exceptions carry it
    return twin
