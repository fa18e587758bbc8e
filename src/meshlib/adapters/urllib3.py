"""
The urllib3 face: a `PoolManager` whose pools are the mesh.

urllib3 keeps its own redirects, decoding and response objects; connections, and the retries of
what failed on the wire, are ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import Message
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import urllib3
import urllib3.connection
from multidict import CIMultiDict
from urllib3.util import SKIP_HEADER, Retry, Timeout
from urllib3.util.request import body_to_chunks
from urllib3.util.timeout import _DEFAULT_TIMEOUT

from meshlib.adapters.body import BytesBody, StreamBody
from meshlib.adapters.length import Length
from meshlib.adapters.naming import service_of
from meshlib.adapters.urllib3_errors import ERRORS
from meshlib.errors import MeshError
from meshlib.model import EMPTY_BODY, Body, Call, Reply
from meshlib.runtime import run_sync
from meshlib.stack.service import CallService

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Services = Callable[[str], CallService]
"""The stack that calls a service, by the service's name."""
Translated = Callable[[MeshError], Exception]
"""As `meshlib.adapters.translate.Translator.translated`."""

_BLOCK = 64 * 1024
_DEFAULTS = (
    ("Accept-Encoding", "identity"),
    ("User-Agent", urllib3.connection._get_default_user_agent()),  # noqa: SLF001 - it says who calls
)
"""What urllib3 would have added."""
_COOKIES = frozenset({b"set-cookie", b"set-cookie2"})


class MeshPoolManager(urllib3.PoolManager):
    """Sends every request to the service its URL names."""

    def __init__(self, services: Services, **options: Any) -> None:
        super().__init__(**options)
        self._services = services

    def connection_from_host(
        self,
        host: str | None,
        port: int | None = None,
        scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> MeshPool:
        """The service of that name, as a pool.  Raises NoRoute for a URL no service can have."""
        try:
            service = service_of(scheme or "http", host or "", port, "/")
        except MeshError as exc:
            raise ERRORS.translated(exc) from exc
        return MeshPool(self._services(service), service, self.connection_pool_kw.get("timeout"))


class MeshPool(urllib3.HTTPConnectionPool):
    """One service, as urllib3 sees it; `authority` is what `Host` says, its name if empty."""

    def __init__(
        self, service: CallService, name: str, timeout: Any = None, authority: str = ""
    ) -> None:
        super().__init__(name, timeout=timeout, maxsize=1)
        self._service, self._authority = service, authority

    def urlopen(  # type: ignore[override]  # noqa: PLR0913 - urllib3's own, less what is sockets'
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retries: Any = None,
        *,
        timeout: Any = _DEFAULT_TIMEOUT,
        preload_content: bool = True,
        decode_content: bool = True,
        **_: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Call the service.  Raises our errors, each of which is one of urllib3's as well."""
        limits = self.timeout if timeout is _DEFAULT_TIMEOUT else timeout
        if not body and body_to_chunks(body, method, _BLOCK).content_length == 0:
            headers = _saying_so(headers or {})
        call = describe(self.host, method, url, body, headers or {}, limits, self._authority)
        try:
            reply = run_sync(self._service(call))
        except MeshError as exc:
            raise ERRORS.translated(exc) from exc
        return response_of(
            reply,
            request_method=method,
            request_url=url,
            retries=Retry.from_int(retries),
            preload_content=preload_content,
            decode_content=decode_content,
        )


def describe(
    service: str,
    method: str,
    url: str,
    body: Any,
    headers: Mapping[str, Any],
    limits: Any,
    authority: str = "",
) -> Call:
    """A request of urllib3 in the stack's words; `url` is path and query.

    `authority` is what `Host` says if no header does; empty: the service.
    """
    connect, read = _limits(limits)
    path, _, query = url.partition("?")
    given = _headers(authority or service, headers)
    return Call(
        service=service,
        method=method.upper(),
        path=path,
        query=query,
        headers=given,
        body=_body(method, body, given),
        connect_timeout=connect,
        read_timeout=read,
    )


def response_of(reply: Reply, **options: Any) -> urllib3.HTTPResponse:
    """The reply as urllib3's own response."""
    headers = urllib3.HTTPHeaderDict()
    for name, value in reply.raw_headers:
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    stream = io.BufferedReader(ReplyStream(reply), _BLOCK) if reply.content is None else None
    return urllib3.HTTPResponse(
        body=stream or io.BytesIO(reply.content or b""),
        headers=headers,
        status=reply.status,
        version=11,
        version_string="HTTP/1.1",
        reason=reply.reason,
        original_response=_Original(reply.raw_headers),  # type: ignore[arg-type]  # the part that is read
        **options,
    )


class _Original:
    """What cookie jars look for beneath a response; false where they would find none."""

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def __bool__(self) -> bool:
        return any(name.lower() in _COOKIES for name, _ in self._raw)

    @cached_property
    def msg(self) -> Message:
        """The headers as http.client has them."""
        message = Message()
        for name, value in self._raw:
            message.set_raw(name.decode("latin-1"), value.decode("latin-1"))
        return message

    def isclosed(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open here."""


class ReplyStream(io.RawIOBase):
    """A reply that is still to come, as a file; `translated` makes a library's errors of ours."""

    def __init__(self, reply: Any, translated: Translated = ERRORS.translated) -> None:
        super().__init__()
        self._translated = translated
        self._reply, self._parts, self._rest = reply, iter(reply), b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what there is.  Raises our errors, each of which is one of the library's as well."""
        target = memoryview(buffer).cast("B")
        try:
            part = self._rest or next(self._parts, b"")
        except MeshError as exc:
            raise self._translated(exc) from exc
        size = min(len(part), len(target))
        target[:size], self._rest = part[:size], part[size:]
        return size

    def close(self) -> None:
        """Close the connection, unless the body has been read to its end."""
        if not self.closed:
            run_sync(self._reply.discard())
        super().close()


def _headers(authority: str, given: Mapping[str, Any]) -> CIMultiDict[str]:
    pairs = given.iteritems() if isinstance(given, urllib3.HTTPHeaderDict) else given.items()
    headers = CIMultiDict([(_text(name), _text(value)) for name, value in pairs])
    missing = [pair for pair in (("Host", authority), *_DEFAULTS) if pair[0] not in headers]
    if missing:
        headers = CIMultiDict([*missing, *headers.items()])  # in the order of http.client
    for name in [name for name, value in headers.items() if value == SKIP_HEADER]:
        del headers[name]
    return headers


def _saying_so(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The headers of a request whose body is empty."""
    said = urllib3.HTTPHeaderDict(headers)
    if "Content-Length" not in said and "Transfer-Encoding" not in said:
        said["Content-Length"] = "0"
    return said


def _body(method: str, body: Any, headers: Mapping[str, str]) -> Body:
    if body is None:
        return EMPTY_BODY
    chunks, size = body_to_chunks(body, method, _BLOCK)
    if chunks is None:
        return EMPTY_BODY
    length = Length(headers.get("Content-Length"), urllib3.exceptions.ProtocolError)
    parts = length.measured(_bytes(chunks))
    return StreamBody(parts) if size is None else BytesBody(b"".join(parts))


def _bytes(chunks: Iterable[Any]) -> Iterable[bytes]:
    return (each.encode() if isinstance(each, str) else bytes(each) for each in chunks)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _limits(limits: Any) -> tuple[float, float]:
    """Seconds to connect, and of silence."""
    if limits is None:
        return inf, inf
    timeout = limits if isinstance(limits, Timeout) else Timeout.from_float(limits)
    timeout = timeout.clone()
    timeout.start_connect()  # urllib3 tells a read timeout only of a clock that runs
    return _seconds(timeout.connect_timeout), _seconds(timeout.read_timeout)


def _seconds(limit: Any) -> float:
    return inf if limit is None or limit is _DEFAULT_TIMEOUT else float(limit)
