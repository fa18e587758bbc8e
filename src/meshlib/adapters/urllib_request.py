"""
The face of `urllib.request`: what an opener asks of the network it asks of the mesh.

The answer is an `http.client.HTTPResponse`, which reads from a reply as it would from a socket.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

from meshlib.adapters.quick_head import message_of
from meshlib.adapters.urllib3 import ReplyStream, describe
from meshlib.adapters.urllib_request_errors import ERRORS
from meshlib.errors import MeshError
from meshlib.model import Call, Reply
from meshlib.runtime import run_sync
from meshlib.stack.service import CallService

_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
"""Methods of which http.client says that the body is empty where there is none."""
_OF_THE_WIRE = frozenset({b"transfer-encoding", b"connection", b"keep-alive"})
"""How the engine received it; here it ends where it ends (RFC 9112, section 6.3)."""


def open_request(stack: CallService, service: str, request: Request) -> HTTPResponse:
    """What `AbstractHTTPHandler.do_open` does, with the mesh in place of a connection.

    Raises our errors, each of which is one of `urllib.request`'s as well.
    """
    try:
        reply = run_sync(stack(_call(service, request)))
    except MeshError as exc:
        raise ERRORS.translated(exc) from exc
    response = HTTPResponse(_Socket(reply), method=request.get_method())  # type: ignore[arg-type]
    response.begin()
    response.headers = message_of(_texts(reply))
    response.url = request.full_url
    response.msg = response.reason  # type: ignore[assignment]  # its users expect it there
    return response


class _Socket:
    """What http.client asks of a socket."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Wire(self._reply))


class _Wire(io.RawIOBase):
    """A reply as it stands on the wire: its head, and then its body."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        body = ReplyStream(reply, ERRORS.translated) if reply.content is None else None
        self._body: Any = body or io.BytesIO(reply.content or b"")
        self._head = io.BytesIO(_head(reply))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is.  Raises our errors, each of which is an OSError as well."""
        return self._head.readinto(buffer) or self._body.readinto(buffer)

    def close(self) -> None:
        self._body.close()
        super().close()


def _head(reply: Reply) -> bytes:
    first = f"HTTP/1.1 {reply.status} {reply.reason}".encode("latin-1", "replace")
    chunked = "Transfer-Encoding" in reply.headers
    left_out = {*_OF_THE_WIRE, b"content-length"} if chunked else _OF_THE_WIRE  # RFC 9112, 6.3
    fields = (b"%b: %b" % each for each in reply.raw_headers if each[0].lower() not in left_out)
    return b"\r\n".join((first, *fields, b"", b""))


def _texts(reply: Reply) -> Iterator[tuple[str, str]]:
    """All fields there were, of which the response has read those that say where it ends."""
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.raw_headers)


def _call(service: str, request: Request) -> Call:
    url = urlsplit(request.full_url)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {**request.headers, **request.unredirected_hdrs}
    given = {name.title(): value for name, value in headers.items()}
    given.pop("Proxy-Authorization", None)  # it is none of the service's business
    authority = url.netloc.rpartition("@")[2]
    limit = _seconds(request.timeout)
    method = request.get_method()
    if request.data is None and method in _WITH_BODY:
        given.setdefault("Content-Length", "0")
    return describe(service, method, path, request.data, given, limit, authority)


def _seconds(timeout: Any) -> float | None:
    """What a socket would have made of it: the module's default is an object that is no number."""
    return timeout if isinstance(timeout, int | float) else socket.getdefaulttimeout()
