"""
The httpx face: transports for `httpx.Client` and `httpx.AsyncClient`.

httpx keeps its own models, cookies, authentication, redirects and event hooks; only what is
beneath them is ours.  The same code serves `httpx` and its continuation `httpx2`: everything is
made for the module it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from math import inf
from types import ModuleType
from typing import Any

from multidict import CIMultiDict

from meshlib.adapters.body import AsyncStreamBody, BytesBody, StreamBody
from meshlib.adapters.httpx_errors import translator
from meshlib.adapters.httpx_network import async_network, network
from meshlib.adapters.length import Length
from meshlib.adapters.naming import service_of
from meshlib.adapters.one_length import once
from meshlib.errors import MeshError
from meshlib.model import Body, Call, Reply
from meshlib.runtime import run_sync
from meshlib.stack.service import CallService

Services = Callable[[str], CallService]
"""The stack that calls a service, by the service's name; an asynchronous transport asks for it
inside the running event loop."""


class Face:
    """What depends on the module: its exceptions, streams and transports."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.errors = translator(module)
        self.network, self.async_network = partial(network, module), partial(async_network, module)
        self.transport = _sync_transport(self)
        self.async_transport = _async_transport(self)


@functools.cache
def face(module: ModuleType) -> Face:
    """The adapter for `httpx` or `httpx2`."""
    return Face(module)


def _call(request: Any, body: Body, service: str) -> Call:
    """Describe a request in the stack's words.  Raises NoRoute for a URL no service can have."""
    url = request.url
    service = service or service_of(url.scheme, url.host, url.port, url.path)
    limits = request.extensions.get("timeout", {})
    read = limits.get("read")
    connect = limits.get("connect")
    path, _, query = request.url.raw_path.partition(b"?")
    return Call(
        service=service,
        method=request.method,
        path=path.decode("ascii"),
        query=query.decode("ascii"),
        headers=CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ),
        body=body,
        timeout=inf if "read" in limits and read is None else None,
        connect_timeout=inf if connect is None else connect,
        read_timeout=inf if read is None else read,
        native=request,
    )


def _response(
    module: Any, reply: Reply, streamed: Callable[[Reply], Any], network: Callable[[Reply], Any]
) -> Any:
    stream = streamed(reply) if reply.content is None else module.ByteStream(reply.content)
    extensions: dict[str, Any] = {"http_version": b"HTTP/1.1"}
    if reply.upgraded is not None:
        extensions["network_stream"] = network(reply)
    if reply.reason or reply.endpoint is not None:  # of the mesh's own answers httpx knows reasons
        extensions["reason_phrase"] = reply.reason.encode("ascii", "ignore")
    return module.Response(
        reply.status, headers=_trimmed(reply.raw_headers), stream=stream, extensions=extensions
    )


def _trimmed(raw: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """As h11 has them.

    Without the space that may follow a value, which http.client takes for a part of it; and the
    length once.
    """
    return once([(name, value.rstrip(b" \t")) for name, value in raw])


def _sync_transport(adapter: Face) -> type[Any]:
    module: Any = adapter.module

    class Stream(module.SyncByteStream):  # type: ignore[misc] # made for the module at hand
        def __init__(self, reply: Any) -> None:
            self._reply = reply

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._reply
            except MeshError as exc:
                raise adapter.errors.translated(exc) from exc

        def close(self) -> None:
            run_sync(self._reply.discard())

    class MeshTransport(module.BaseTransport):  # type: ignore[misc] # made for the module at hand
        """Sends the requests of a synchronous client through the mesh.

        All of them to `service`, or each to the service its URL names.
        """

        def __init__(self, services: Services, service: str = "") -> None:
            self._services, self._service = services, service

        def handle_request(self, request: Any) -> Any:
            try:
                call = _call(request, _body(module, request, _sync_body), self._service)
                reply = run_sync(self._services(call.service)(call))
            except MeshError as exc:
                raise adapter.errors.translated(exc) from exc
            return _response(module, reply, Stream, adapter.network)

    return MeshTransport


def _async_transport(adapter: Face) -> type[Any]:
    module: Any = adapter.module

    class Stream(module.AsyncByteStream):  # type: ignore[misc] # made for the module at hand
        def __init__(self, reply: Any) -> None:
            self._reply = reply

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for part in self._reply:
                    yield part
            except MeshError as exc:
                raise adapter.errors.translated(exc) from exc

        async def aclose(self) -> None:
            await self._reply.discard()

    class AsyncMeshTransport(module.AsyncBaseTransport):  # type: ignore[misc] # as above
        """Sends the requests of an asynchronous client through the mesh."""

        def __init__(self, services: Services, service: str = "") -> None:
            self._services, self._service = services, service

        async def handle_async_request(self, request: Any) -> Any:
            try:
                call = _call(request, _body(module, request, _async_body), self._service)
                reply = await self._services(call.service)(call)
            except MeshError as exc:
                raise adapter.errors.translated(exc) from exc
            return _response(module, reply, Stream, adapter.async_network)

    return AsyncMeshTransport


def _body(module: Any, request: Any, streamed: Callable[[Any, Length], Body]) -> Body:
    """httpx says by the stream's type whether it holds all the bytes."""

    def lie(what: str) -> Exception:
        error: Exception = module.LocalProtocolError(what, request=request)
        return error

    length = Length(request.headers.get("content-length"), lie)
    if not isinstance(request.stream, module.ByteStream):
        return streamed(request.stream, length)
    return BytesBody(b"".join(length.measured(request.stream)))


def _sync_body(stream: Any, length: Length) -> Body:
    return StreamBody(length.measured(stream))


def _async_body(stream: Any, length: Length) -> Body:
    return AsyncStreamBody(_measured(stream, length))


async def _measured(stream: Any, length: Length) -> AsyncIterator[bytes]:
    async for part in stream:
        length.add(len(part))
        yield part
    length.end()
