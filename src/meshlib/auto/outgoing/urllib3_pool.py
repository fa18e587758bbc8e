"""
A pool of urllib3 whose connections are the mesh, in place of one that a program made.

All of `urlopen` is urllib3's own: headers of the pool, redirects, hooks of `Retry`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import urllib3
from urllib3.util import Retry, parse_url

from meshlib.adapters.urllib3 import describe, response_of
from meshlib.adapters.urllib3_errors import ERRORS
from meshlib.auto.outgoing.where import Where
from meshlib.errors import MeshError
from meshlib.runtime import run_sync
from meshlib.stack.service import CallService


class _Told(Exception):
    """Carries an error past urllib3's retries: the mesh has retried what can be retried."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _NoConnection:
    """What urllib3 looks at between taking a connection and using it."""

    timeout: Any = None
    is_closed = False
    proxy = None

    def close(self) -> None:
        """Nothing is open here."""


class AutoPool(urllib3.HTTPConnectionPool):
    """Calls `service` as if by the pool it stands in for."""

    def __init__(
        self, stack: CallService, service: str, like: urllib3.HTTPConnectionPool, where: Where
    ) -> None:
        super().__init__(
            like.host,
            like.port,
            like.timeout,
            maxsize=1,
            headers=like.headers,
            retries=like.retries,
        )
        self.scheme = like.scheme
        self._stack, self._service, self._authority = stack, service, where.authority

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        redirect: bool = True,  # noqa: FBT001, FBT002 - urllib3's own signature
        *args: Any,
        **kwargs: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Call the service.  Raises our errors, each of which is one of urllib3's as well."""
        if not isinstance(retries, Retry):
            retries = Retry.from_int(retries, redirect=redirect, default=self.retries)
        used_up = retries.new(status=0)
        try:
            return super().urlopen(method, url, body, headers, used_up, redirect, *args, **kwargs)
        except _Told as told:
            _raise(told.error)

    def _get_conn(self, timeout: float | None = None) -> Any:
        return _NoConnection()

    def _put_conn(self, conn: Any) -> None:
        """There is no connection to keep."""

    def _make_request(  # type: ignore[override]
        self,
        conn: Any,
        method: str,
        url: str,
        *,
        body: Any = None,
        headers: Any = None,
        timeout: Any = None,
        **options: Any,
    ) -> urllib3.HTTPResponse:
        path = parse_url(url).request_uri
        told = {name: options[name] for name in _OF_RESPONSES if name in options}
        try:
            call = describe(
                self._service, method, path, body, headers or {}, timeout, self._authority
            )
            reply = run_sync(self._stack(call))
        except MeshError as exc:
            error = ERRORS.translated(exc)
            error.__cause__ = exc
            raise _Told(error) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise _Told(exc) from exc
        return response_of(reply, request_method=method, request_url=url, **told)


_OF_RESPONSES = ("retries", "preload_content", "decode_content", "enforce_content_length")


def _raise(error: Exception) -> NoReturn:
    raise error from error.__cause__
