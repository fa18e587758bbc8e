"""
The aiohttp face: what a `ClientSession` sends its requests with.

aiohttp keeps its own sessions, cookies, redirects, middlewares, tracing, responses and websockets.
A session is given a connector that connects to nobody, and a class of requests that send themselves
through the mesh: so neither `ssl=False` nor a proxy of the user's leads around it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import (
    BaseConnector,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
)
from aiohttp.client import DEFAULT_TIMEOUT
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.payload import BytesPayload
from multidict import CIMultiDict

from meshlib.adapters.aiohttp_errors import told
from meshlib.adapters.aiohttp_wire import Wire
from meshlib.adapters.body import AsyncStreamBody, BytesBody
from meshlib.adapters.naming import service_of
from meshlib.errors import MeshError
from meshlib.model import EMPTY_BODY, Body, Call
from meshlib.stack.service import CallService

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey

Services = Callable[[str], CallService]
"""The stack that calls a service from the running event loop, by the service's name."""

OLDEST = (3, 14)
"""The first aiohttp whose requests write bodies and make responses as is done here."""

_EARLIER, _AT_MOST = 0.02, 0.05
"""By this share, and by no more than these seconds, the mesh's time is up before aiohttp's: so that
it is the mesh that judges the endpoint and explains, and not a cancellation that blames nobody."""


def session(services: Services, **options: Any) -> ClientSession:
    """A session whose requests are calls of these services; `options` are aiohttp's.

    Raises MeshError for an aiohttp that is too old.
    """
    _check_version()
    made = ClientSession(
        connector=MeshConnector(), request_class=request_class(services), **options
    )
    made._retry_connection = False  # noqa: SLF001 - the mesh has tried again where that is right
    return made


def _check_version() -> None:
    major, minor, *_ = aiohttp.__version__.split(".")
    if (int(major), int(minor)) < OLDEST:
        raise MeshError(
            f"aiohttp {aiohttp.__version__} cannot be a face of the mesh",
            why="its requests cannot be told to send themselves",
            hint=f"install aiohttp >= {'.'.join(map(str, OLDEST))}",
        )


class MeshConnector(BaseConnector):
    """Hands out connections to the mesh itself."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Connection:
        """A new one: whom it leads to is decided when the request is sent."""
        del traces
        wire = Wire(self._loop, timeout)
        return Connection(self, req.connection_key, wire.protocol, self._loop)

    def _release(self, key: ConnectionKey, protocol: Any, *, should_close: bool = False) -> None:
        del key, should_close
        protocol.close()


def request_class(services: Services, service: str = "") -> type[ClientRequest]:
    """The requests of a session whose services these are.

    All are meant for `service`, or each for the service its URL names.
    """
    own = {"_services": staticmethod(services), "_service": service}
    return type("MeshRequest", (_MeshRequest,), own)


class _MeshRequest(ClientRequest):
    """Sends itself through the mesh."""

    _services: Services
    _service: str

    async def send(self, conn: Connection) -> ClientResponse:
        """Call the service.  Raises our errors, each of which is one of aiohttp's as well."""
        to_aiohttp = functools.partial(told, key=self.connection_key)
        wire = conn.transport
        assert isinstance(wire, Wire)  # noqa: S101 - MeshConnector made it
        try:
            url = self.url
            named = url.scheme, url.host or "", url.explicit_port, url.path
            service = self._service or service_of(*named)
            return await self._sent(service, conn, wire, to_aiohttp)
        except MeshError as exc:
            raise to_aiohttp(exc) from exc

    async def _sent(
        self, service: str, conn: Connection, wire: Wire, to_aiohttp: Callable[[Any], Exception]
    ) -> ClientResponse:
        self._say_content_type()
        writer = self._stream_writer(wire)
        body, task = await self._call_body(conn, wire, writer)
        for trace in self._traces:
            await trace.send_request_headers(self.method, self.url, self.headers)
        call = _described(self, service, body, wire.timeout)
        try:
            reply = await self._services(service)(call)
        except BaseException:
            if task is not None:
                task.cancel()
            raise
        response = self._response(writer, task)
        wire.answer(reply, bodiless=self.method == "HEAD")
        wire.carry(response, to_aiohttp)
        return response

    def _say_content_type(self) -> None:
        skipped = self._skip_auto_headers or ()
        if self.method in self.POST_METHODS and "Content-Type" not in skipped:
            self.headers.setdefault("Content-Type", "application/octet-stream")

    def _stream_writer(self, wire: Wire) -> StreamWriter:
        said = functools.partial(self._on_chunk_request_sent, self.method, self.url)
        writer = StreamWriter(
            wire.protocol, self.loop, on_chunk_sent=said if self._traces else None
        )
        if self.compress:
            writer.enable_compression(self.compress)  # type: ignore[arg-type]  # as aiohttp does
        return writer

    async def _call_body(
        self, conn: Connection, wire: Wire, writer: StreamWriter
    ) -> tuple[Body, asyncio.Task[None] | None]:
        """What is to be sent, and the task that writes it if it is not all there."""
        payload = self._body
        if payload is None:
            return EMPTY_BODY, None
        plain = not (self.compress or self._traces or self._upload_tracker)
        if plain and isinstance(payload, BytesPayload):
            return BytesBody(await payload.as_bytes()), None
        written = self.write_bytes(writer, conn, self._get_content_length())
        task = self.loop.create_task(written)
        self._writer = task
        return AsyncStreamBody(self._parts(wire, task)), task

    async def _parts(self, wire: Wire, task: asyncio.Task[None]) -> AsyncIterator[bytes]:
        if self._continue is not None and not self._continue.done():
            self._continue.set_result(True)  # the engine asks for the body once the peer has
        async for part in wire.sent(task):
            yield part

    def _response(self, writer: StreamWriter, task: asyncio.Task[None] | None) -> ClientResponse:
        response = self.response_class(
            self.method,
            self.original_url,
            writer=None if task is None or task.done() else task,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )
        self.response = response  # type: ignore[assignment]  # as aiohttp's own `send`
        return response


def _described(request: ClientRequest, service: str, body: Body, timeout: ClientTimeout) -> Call:
    """A request of aiohttp in the stack's words."""
    path, _, query = request.url.raw_path_qs.partition("?")
    return Call(
        service=service,
        method=request.method,
        path=path,
        query=query,
        headers=CIMultiDict(request.headers),
        body=body,
        timeout=_total(timeout.total),
        connect_timeout=_seconds(timeout.sock_connect, timeout.connect),
        read_timeout=_seconds(timeout.sock_read),
    )


def _total(seconds: float | None) -> float | None:
    """What the user chose: aiohttp's own five minutes leave it to the policy."""
    if seconds == DEFAULT_TIMEOUT.total:
        return None
    return seconds - min(seconds * _EARLIER, _AT_MOST) if seconds else inf


def _seconds(*limits: float | None) -> float:
    return min((limit for limit in limits if limit), default=inf)
