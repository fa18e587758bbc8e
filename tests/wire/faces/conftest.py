"""Real TLS servers that follow a script, and every face to call them with."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
import uvloop

from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.aside_sync import Threads
from meshlib.adapters.engine_async import AsyncEngine
from meshlib.adapters.engine_sync import SyncEngine
from meshlib.adapters.httpx import face
from meshlib.adapters.loops import PerLoop
from meshlib.adapters.trust import ClientTrust
from meshlib.balance.upstream import Upstream
from meshlib.config import BackoffConfig, RetryConfig, UpstreamConfig
from meshlib.model import Bound, Endpoint, Snapshot, Target
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import straight
from meshlib.runtime import AsyncRuntime, SyncRuntime, real_clock
from meshlib.stack.client import Destination, client_stack
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.tls import MeshContext, member_of
from meshlib.watch import Watch

SOON = BackoffConfig(base=0.001, cap=0.002)


@dataclass
class Request:
    """What a server read."""

    line: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request, ssl.SSLSocket], bool]
"""Answers on the socket; whether the connection stays open."""


def text(body: bytes = b"ok", status: str = "200 OK", **headers: str) -> Answer:
    """An ordinary answer."""
    given = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\n{given}content-length: {len(body)}\r\n\r\n"

    def answer(request: Request, connection: ssl.SSLSocket) -> bool:
        connection.sendall(head.encode() + body)
        return True

    return answer


def raw(data: bytes) -> Answer:
    """These bytes, and then the connection is cut."""

    def answer(request: Request, connection: ssl.SSLSocket) -> bool:
        connection.sendall(data)
        return False

    return answer


@dataclass
class Server:
    """A server of the mesh that plays `answer` and writes down what it was asked."""

    endpoint: Endpoint
    answer: Answer = field(default_factory=text)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    handshakes: list[BaseException | None] = field(default_factory=list)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


def read_request(stream: Any) -> Request | None:
    """The next request, None at the end."""
    line = stream.readline().decode("latin-1").strip()
    if not line:
        return None
    headers: dict[str, str] = {}
    while header := stream.readline().decode("latin-1").strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, _body(stream, headers))


def _body(stream: Any, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return stream.read(int(headers.get("content-length", 0)))
    parts = []
    while size := int(stream.readline(), 16):
        parts.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(parts)


def _talk(server: Server, connection: ssl.SSLSocket) -> None:
    server.connections += 1
    with connection, contextlib.suppress(OSError, ValueError):
        stream = connection.makefile("rb")
        while request := read_request(stream):
            server.requests.append(request)
            server.asked.release()
            if not server.answer(request, connection):
                return


def _accept(server: Server, listening: socket.socket, context: MeshContext) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_shake, args=(server, plain, context), daemon=True).start()


def _shake(server: Server, plain: socket.socket, context: MeshContext) -> None:
    plain.settimeout(20)
    try:
        connection = context.wrap_socket(plain, server_side=True)
    except OSError as exc:
        server.handshakes.append(exc)
        plain.close()
        return
    server.handshakes.append(None)
    _talk(server, connection)


@pytest.fixture(scope="session")
def ca() -> ThrowawayCA:
    """Who signs everybody here."""
    return ThrowawayCA("mesh.test", now=time.time())


@pytest.fixture
def serve(ca) -> Iterator[Callable[..., Server]]:
    """Start a server of `service`, or of whoever the credentials say."""
    open_sockets: list[socket.socket] = []

    def start(service: str = "shop", credentials: Any = None) -> Server:
        listening = socket.create_server(("127.0.0.1", 0))
        open_sockets.append(listening)
        port = listening.getsockname()[1]
        server = Server(Endpoint(f"{service}-{port}", "127.0.0.1", port))
        context = MeshContext(
            Watch(credentials or ca.credentials(service), ready=True),
            server_side=True,
            authorize=member_of("mesh.test"),
            clock=time.time,
        )
        threading.Thread(target=_accept, args=(server, listening, context), daemon=True).start()
        return server

    yield start
    for listening in open_sockets:
        listening.close()


@pytest.fixture
def dead() -> Endpoint:
    """An endpoint nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    return Endpoint("dead", "127.0.0.1", port)


@dataclass
class Client:
    """One face, called in one way by all tests."""

    module: ModuleType
    make: Callable[..., Any]
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None
    """None: the face is synchronous."""
    credentials: Watch
    upstream: Upstream
    config: Watch
    table: Watch

    def bind(self, *members: Server | Endpoint) -> None:
        endpoints = tuple(m.endpoint if isinstance(m, Server) else m for m in members)
        self.upstream.update(Bound(Snapshot("shop", endpoints)))

    def request(self, method: str, url: str = "http://shop/", *, count: int = 1, **options: Any):
        """The last response of `count` equal requests, read to its end."""
        if self.new_loop is None:
            with self.make() as client:
                return [client.request(method, url, **options) for _ in range(count)][-1]

        async def main():
            async with self.make() as client:
                return [await client.request(method, url, **options) for _ in range(count)][-1]

        return self.run(main())

    def run(self, coroutine):
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            return runner.run(coroutine)

    def get(self, url: str = "http://shop/", **options: Any):
        return self.request("GET", url, **options)

    def stream(self, parts: list[bytes], error: BaseException | None = None):
        """A request body that is produced while it is sent."""

        def produce():
            yield from parts
            if error:
                raise error

        async def produce_async():
            for part in produce():
                yield part

        return produce_async() if self.new_loop else produce()

    def read_parts(self, url: str = "http://shop/") -> list[bytes]:
        """A response's body, part by part."""
        if self.new_loop is None:
            with self.make() as client, client.stream("GET", url) as response:
                return list(response.iter_raw())

        async def main():
            async with self.make() as client, client.stream("GET", url) as response:
                return [part async for part in response.aiter_raw()]

        return self.run(main())

    @property
    def pending(self) -> int:
        return sum(state.pending for state in self.upstream.states())


@dataclass
class Shop:
    """The service that is called, as its callers know it."""

    credentials: Watch
    upstream: Upstream
    config: Watch
    destination: Destination
    trust: ClientTrust
    rng: random.Random

    def bind(self, *members: Server | Endpoint) -> None:
        endpoints = tuple(m.endpoint if isinstance(m, Server) else m for m in members)
        self.upstream.update(Bound(Snapshot("shop", endpoints)))

    def stack(self, engine, runtime):
        return client_stack(
            self.destination, engine, runtime=runtime, tracer=Passthrough(), listener=Quiet()
        )


@dataclass(frozen=True)
class Peers:
    """What a control plane would say of its services."""

    ca: ThrowawayCA
    oldest_tls = ssl.TLSVersion.TLSv1_3

    def spiffe_id(self, service, datacenter=""):
        return self.ca.id_of(service)

    def server_name(self, service, subset="", datacenter=""):
        return ""


@pytest.fixture
def shop(ca) -> Shop:
    """Nobody serves it yet."""
    credentials = Watch(ca.credentials("front"), ready=True)
    config = Watch(UpstreamConfig(retry=RetryConfig(backoff=SOON)), ready=True)
    rng = random.Random(3)
    upstream = Upstream("shop", real_clock, rng, config.value)
    destination = Destination(
        service="shop",
        config=config,
        table=Watch(straight(Target("shop")), ready=True),
        upstream=lambda _: upstream,
        backoff=config.map(lambda value: value.retry.backoff).map(Backoff),
        budget=Watch(RetryBudget(real_clock, config.value.retry.budget), ready=True),
    )
    return Shop(
        credentials, upstream, config, destination, ClientTrust(credentials, Peers(ca)), rng
    )


@pytest.fixture
def sync_services(shop) -> Iterator[Callable[[str], Any]]:
    """What a synchronous face is made of; it knows the one service."""
    engine, aside = SyncEngine(shop.trust, clock=real_clock, idle=20.0), Threads()
    service = shop.stack(engine, SyncRuntime(rng=shop.rng, aside=aside))
    yield lambda _: service
    aside.close()
    engine.close()


@pytest.fixture(
    params=[
        (httpx, None),
        (httpx, asyncio.new_event_loop),
        (httpx, uvloop.new_event_loop),
        (httpx2, None),
        (httpx2, asyncio.new_event_loop),
    ],
    ids=["httpx", "httpx-asyncio", "httpx-uvloop", "httpx2", "httpx2-asyncio"],
)
def client(request, shop, sync_services) -> Client:
    """Each face in turn."""
    module, new_loop = request.param
    adapter = face(module)

    async def end(loop):
        engine, aside = loop
        await aside.close()
        await engine.close()

    loops = PerLoop(lambda: (AsyncEngine(shop.trust, clock=real_clock, idle=20.0), Tasks()), end)

    def services(_):
        engine, aside = loops.current()
        return shop.stack(engine, AsyncRuntime(rng=shop.rng, aside=aside))

    def make(**options):
        if new_loop:
            return module.AsyncClient(transport=adapter.async_transport(services), **options)
        return module.Client(transport=adapter.transport(sync_services), **options)

    table = shop.destination.table
    return Client(module, make, new_loop, shop.credentials, shop.upstream, shop.config, table)
