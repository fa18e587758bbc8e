"""Real gRPC servers of the mesh that follow a script, and both faces to call them with."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest

from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.aside_sync import Threads
from meshlib.adapters.grpc.open_aio import open_channel as open_aio
from meshlib.adapters.grpc.open_sync import open_channel as open_sync
from meshlib.adapters.stacks import Parts
from meshlib.adapters.trust import ClientTrust
from meshlib.balance.upstream import Upstream
from meshlib.config import BackoffConfig, RetryConfig, UpstreamConfig
from meshlib.model import Bound, Endpoint, Snapshot, Target
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.policy.stall import StallMeter
from meshlib.route.table import straight
from meshlib.runtime import AsyncRuntime, SyncRuntime, real_clock
from meshlib.stack.client import Destination
from meshlib.testing.ca import ThrowawayCA
from meshlib.watch import Watch

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here takes a tenth of it."""
KINDS = {
    "Echo": ("unary_unary", lambda server, request, context: request),
    "Name": ("unary_unary", lambda server, request, context: server.endpoint.id.encode()),
    "Many": ("unary_stream", lambda server, request, context: server.many(request, context)),
    "Join": ("stream_unary", lambda server, requests, context: b"+".join(requests)),
    "Chat": ("stream_stream", lambda server, requests, context: server.chat(requests)),
    "Play": ("unary_unary", lambda server, request, context: server.play(request, context)),
}


@pytest.fixture
def status():
    """`status(code, *trailing)`: an answer that is a code."""

    def made(code, *trailing):
        def answer(request, context):
            context.set_trailing_metadata(trailing)
            context.abort(code, "as told")

        return answer

    return made


@dataclass
class Server(grpc.GenericRpcHandler):
    """A server of the mesh: real TLS of grpcio's, and `answer` for the method Play."""

    endpoint: Endpoint
    answer: object = None
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    holds: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    metadata: list = field(default_factory=list)
    left: list = field(default_factory=list)
    grpc: object = None

    def service(self, details):
        kind, behave = KINDS[details.method.rpartition("/")[2]]

        def handle(request, context):
            self.metadata.append(tuple(tuple(each) for each in context.invocation_metadata()))
            self.left.append(context.time_remaining())
            self.asked.release()
            return behave(self, request, context)

        return getattr(grpc, f"{kind}_rpc_method_handler")(handle)

    def said(self, *keys):
        """The metadata of the last RPC under these keys."""
        return [pair for pair in self.metadata[-1] if pair[0] in keys]

    def saying(self, **said):
        """Have Play end so: code, details, trailing metadata."""

        def answer(request, context):
            for name, value in said.items():
                getattr(context, f"set_{name}")(value)
            return b"well"

        self.answer = answer

    def play(self, request, context):
        return self.answer(request, context)

    def many(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()
        if self.answer is not None:
            self.answer(request, context)

    def chat(self, requests):
        for request in requests:
            yield b"you said " + request

    def hold(self, request, context):
        """An answer that comes when the caller has gone."""
        if not context.add_callback(self.gone.set):
            self.gone.set()
        self.holds.set()
        self.gone.wait(PATIENCE)
        return b"late"


@pytest.fixture(scope="session")
def ca():
    """Who signs everybody here."""
    return ThrowawayCA("mesh.test", now=time.time())


@dataclass(frozen=True)
class Peers:
    """What a control plane would say of its services."""

    ca: ThrowawayCA
    oldest_tls = ssl.TLSVersion.TLSv1_3

    def spiffe_id(self, service, datacenter=""):
        return self.ca.id_of(service)

    def server_name(self, service, subset="", datacenter=""):
        return ""


def pem_roots(credentials):
    roots = (root for bundle in credentials.bundles.values() for root in bundle.roots)
    return b"".join(ssl.DER_cert_to_PEM_cert(root).encode() for root in roots)


@pytest.fixture
def serve(ca):
    """Start a server of `shop`, or of whoever the credentials say; `watch` rotates them."""
    started = []

    def start(credentials=None, *, port=0, watch=None, options=()):
        watch = watch or Watch(credentials or ca.credentials("shop"), ready=True)

        def configuration():
            now = watch.value
            pair = [(now.leaf.key_pem, now.leaf.chain_pem)]
            return grpc.ssl_server_certificate_configuration(pair, pem_roots(now))

        tls = grpc.dynamic_ssl_server_credentials(
            configuration(), configuration, require_client_authentication=True
        )
        server = grpc.server(ThreadPoolExecutor(8), options=options)
        port = server.add_secure_port(f"127.0.0.1:{port}", tls)
        made = Server(Endpoint(f"shop-{port}", "127.0.0.1", port), grpc=server)
        server.add_generic_rpc_handlers((made,))
        server.start()
        started.append(server)
        return made

    yield start
    for server in started:
        server.stop(0).wait(PATIENCE)


@dataclass
class Shop:
    """The service that is called, as its callers know it."""

    credentials: Watch
    upstream: Upstream
    config: Watch
    parts: Parts
    budget: RetryBudget

    def bind(self, *members):
        endpoints = tuple(m.endpoint if isinstance(m, Server) else m for m in members)
        self.upstream.update(Bound(Snapshot("shop", endpoints)))

    def retry(self, **settings):
        soon = BackoffConfig(base=0.001, cap=0.002)
        self.config.set(UpstreamConfig(retry=RetryConfig(backoff=soon, **settings)))


@pytest.fixture
def shop(ca):
    """Nobody serves it yet."""
    credentials = Watch(ca.credentials("front"), ready=True)
    config = Watch(UpstreamConfig(balancer="round_robin"), ready=True)
    upstream = Upstream("shop", real_clock, random.Random(3), config.value)
    budget = RetryBudget(real_clock, config.value.retry.budget)
    destination = Destination(
        service="shop",
        config=config,
        table=Watch(straight(Target("shop")), ready=True),
        upstream=lambda _: upstream,
        backoff=config.map(lambda value: value.retry.backoff).map(Backoff),
        budget=Watch(budget, ready=True),
    )
    trust = ClientTrust(credentials, Peers(ca), alpn=("h2",))
    parts = Parts(lambda _: destination, trust, trust, Passthrough(), Quiet())
    shop = Shop(credentials, upstream, config, parts, budget)
    shop.retry()
    return shop


@dataclass
class SyncFace:
    """The synchronous face, asked as tests of both ask."""

    channel: grpc.Channel
    kind = "sync"

    def call(self, method, request, shape="unary_unary", **options):
        """The message, or all of them; raises grpc.RpcError."""
        answer = getattr(self.channel, shape)(f"/t.T/{method}")(request, **options)
        return list(answer) if shape.endswith("stream") else answer

    def begin(self, method, request, **options):
        """A call that goes on."""
        return self.channel.unary_unary(f"/t.T/{method}").future(request, **options)

    def close(self):
        self.channel.close()


@dataclass
class AioFace:
    """The asynchronous one, in a loop of its own."""

    channel: object
    loop: asyncio.AbstractEventLoop
    aside: Tasks
    kind = "aio"

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def call(self, method, request, shape="unary_unary", **options):
        return self.run(self.called(method, request, shape, **options))

    async def called(self, method, request, shape="unary_unary", **options):
        answer = getattr(self.channel, shape)(f"/t.T/{method}")(request, **options)
        return [each async for each in answer] if shape.endswith("stream") else await answer

    def begin(self, method, request, **options):
        async def begun():
            return self.channel.unary_unary(f"/t.T/{method}")(request, **options)

        return self.run(begun())

    def close(self):
        self.run(self.channel.close())
        self.run(self.aside.close())


@pytest.fixture
def sync_face(shop):
    """The synchronous face."""
    aside = Threads()

    def over(service, engine):
        made = engine(shop.parts)
        runtime = SyncRuntime(rng=random.Random(3), aside=aside, race=made.race)
        return shop.parts.stack(service, made, runtime, StallMeter())

    face = SyncFace(open_sync(over, "shop", (), None, frozenset({"/t.T/Name"})))
    yield face
    face.close()
    aside.close()


@pytest.fixture
def aio_face(shop):
    """The asynchronous face."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    aside = Tasks()

    def over(service, engine):
        runtime = AsyncRuntime(rng=random.Random(3), aside=aside)
        return shop.parts.stack(service, engine(shop.parts), runtime, StallMeter())

    channel = open_aio(over, "shop", (), None, (), frozenset({"/t.T/Name"}))
    face = AioFace(channel, loop, aside)
    yield face
    face.close()
    face.run(loop.shutdown_asyncgens())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=["sync_face", "aio_face"], ids=["sync", "aio"])
def face(request):
    """Each in turn."""
    return request.getfixturevalue(request.param)
