"""Every gRPC server of ours, around an application that tells what reached it; native clients."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest

import meshlib
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.serve.grpc.aio_server import MeshAioServer
from meshlib.serve.grpc.server import MeshGrpcServer
from meshlib.serve.options import DrainConfig, ServeOptions
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.verify import fellows_of
from meshlib.watch import Watch

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here takes a tenth of it."""
NAME = "backend.example"
"""What native clients look for: they cannot look for an id."""
WORLDS = ["threads", "threads-built", "loop", "loop-built", "loop-threads"]
"""Threads and event loops, each made by the mesh and made before; blocking handlers in a loop."""


@pytest.fixture(scope="session")
def ca():
    return ThrowawayCA("example.org", now=time.time())


@dataclass
class Recorder(Quiet):
    """A listener and a lease that write everything down."""

    events: list = field(default_factory=list)
    served: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    heard: threading.Condition = field(default_factory=threading.Condition)

    def request_served(self, service, inbound, status, seconds):
        assert seconds >= 0
        with self.heard:
            self.served.append((inbound, status))
            self.heard.notify_all()

    def request_refused(self, service, by, status):
        self.refused.append((by, status))

    def wait_served(self, count):
        """Paths and statuses, once there are `count` of them."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.served) >= count, PATIENCE), self.served
            return [(inbound.path, status) for inbound, status in self.served]

    def drain(self):
        self.events.append("drain")

    def close(self):
        self.events.append("close")


def told(context):
    """What a handler can know of its caller."""
    peer = context.mesh_peer
    request = {
        "peer": peer and peer.service,
        "id": peer and peer.spiffe_id,
        "edge": context.mesh_edge,
        "claims": context.mesh_claims,
        "priority": context.mesh_priority,
        "metadata": [name for name, _ in context.invocation_metadata()],
        "left": context.time_remaining(),
        "deadline": meshlib.deadline(),
    }
    return json.dumps(request).encode()


class App:
    """What is called, and what happened to it."""

    def __init__(self):
        self.calls = []
        self.entered, self.release = threading.Semaphore(0), threading.Event()
        self.closed, self.over = threading.Semaphore(0), threading.Event()
        self.left = None
        """What `Endless` knew of its deadline when it was ended."""
        self.during = lambda: None
        """Called by `Say`."""

    def say(self, request, context):
        self.calls.append(request)
        self.during()
        return told(context)

    def count(self, request, context):
        self.calls.append(request)
        for number in range(int(request)):
            yield b"%d" % number

    def gather(self, requests, context):
        self.calls.append(b"gather")
        return b"".join(requests)

    def chat(self, requests, context):
        self.calls.append(b"chat")
        for request in requests:
            yield request.upper()

    def fail(self, request, context):
        self.calls.append(request)
        if request == b"abort":
            context.set_trailing_metadata((("x-why", "because"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
        if request == b"raise":
            raise ValueError("a bug")
        context.set_code(grpc.StatusCode.OUT_OF_RANGE)
        context.set_details("too far")
        return b""

    def hold(self, request, context):
        self.calls.append(request)
        context.add_callback(self.over.set)
        self.entered.release()
        assert self.release.wait(PATIENCE)
        return b"held"

    def endless(self, request, context):
        self.calls.append(request)
        try:
            while True:
                yield b"more"
        finally:
            self.left = meshlib.deadline()
            self.closed.release()


class LoopApp(App):
    """The same as coroutines."""

    async def say(self, request, context):
        return super().say(request, context)

    async def count(self, request, context):
        self.calls.append(request)
        for number in range(int(request)):
            yield b"%d" % number

    async def gather(self, requests, context):
        self.calls.append(b"gather")
        return b"".join([request async for request in requests])

    async def chat(self, requests, context):
        self.calls.append(b"chat")
        async for request in requests:
            await context.write(request.upper())

    async def fail(self, request, context):
        self.calls.append(request)
        if request == b"abort":
            context.set_trailing_metadata((("x-why", "because"),))
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
        if request == b"raise":
            raise ValueError("a bug")
        context.set_code(grpc.StatusCode.OUT_OF_RANGE)
        context.set_details("too far")
        return b""

    async def hold(self, request, context):
        self.calls.append(request)
        self.entered.release()
        try:
            assert await asyncio.to_thread(self.release.wait, PATIENCE)
        finally:
            self.over.set()
        return b"held"

    async def endless(self, request, context):
        self.calls.append(request)
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0)
        finally:
            self.left = meshlib.deadline()
            self.closed.release()


KINDS = {
    "Say": grpc.unary_unary_rpc_method_handler,
    "Count": grpc.unary_stream_rpc_method_handler,
    "Gather": grpc.stream_unary_rpc_method_handler,
    "Chat": grpc.stream_stream_rpc_method_handler,
    "Fail": grpc.unary_unary_rpc_method_handler,
    "Hold": grpc.unary_unary_rpc_method_handler,
    "Endless": grpc.unary_stream_rpc_method_handler,
}


def handlers_of(app):
    return {name: kind(getattr(app, name.lower())) for name, kind in KINDS.items()}


@dataclass
class Running:
    """A server: where it is, and what it heard."""

    server: object
    app: App
    credentials: Watch
    recorder: Recorder
    stop: object
    """`stop(grace)` blocks until all is over."""

    @property
    def port(self):
        return self.server.listening.port


@contextmanager
def in_threads(made, app, recorder, credentials, *, built, add=None, **said):
    pool = ThreadPoolExecutor(8)
    server = MeshGrpcServer(made, grpc.server(pool) if built else pool, **said)
    server.add_registered_method_handlers("t.Echo", handlers_of(app))
    if add is not None:
        add(server)
    server.start()
    yield Running(server, app, credentials, recorder, lambda grace: server.stop(grace).wait())
    server.stop(None).wait(PATIENCE)
    pool.shutdown()


@contextmanager
def in_loop(made, app, recorder, credentials, *, built, add=None, **said):
    loop, pool = asyncio.new_event_loop(), ThreadPoolExecutor(8)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    async def start():
        server = MeshAioServer(made, grpc.aio.server(pool) if built else pool, **said)
        generic = grpc.method_handlers_generic_handler("t.Echo", handlers_of(app))
        server.add_generic_rpc_handlers((generic,))
        if add is not None:
            add(server)
        await server.start()
        return server

    try:
        server = run(start())
        yield Running(server, app, credentials, recorder, lambda grace: run(server.stop(grace)))
        run(server.stop(None))
    finally:
        run(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
        pool.shutdown()


@pytest.fixture
def serve(ca):
    """`serve(world, ...)` serves an `App` for as long as a `with` block lasts."""

    @contextmanager
    def serving(world, *, add=None, said=None, credentials=None, **changes):
        recorder = Recorder()

        def register(host, port):
            recorder.events.append("register")
            return recorder

        watch = credentials or Watch(ca.credentials("backend", dns=[NAME]), ready=True)
        made = ServeOptions(
            **{
                "service": "backend",
                "instance": "backend-1",
                "credentials": watch,
                "authorize": fellows_of(watch),
                "tracer": Passthrough(),
                "listener": recorder,
                "register": register,
                "drain": DrainConfig(lame_duck=0, grace=5),
                **changes,
            }
        )
        start = in_threads if world.startswith("threads") else in_loop
        app = LoopApp() if world in {"loop", "loop-built"} else App()
        built = world.endswith("built")
        given = {"add": add, "built": built, **({} if built else said or {})}
        with start(lambda: made, app, recorder, watch, **given) as running:
            yield running

    return serving


@pytest.fixture(params=WORLDS)
def world(request):
    """Each way to serve in turn."""
    return request.param


@pytest.fixture
def backend(serve, world):
    """A server of that world."""
    with serve(world) as running:
        yield running


def channel_credentials(leaf, roots):
    pem = "".join(map(ssl.DER_cert_to_PEM_cert, roots)).encode()
    return grpc.ssl_channel_credentials(pem, leaf.key_pem, leaf.chain_pem)


class Caller:
    """A native channel to one server."""

    def __init__(self, port, leaf, roots, options=()):
        self.channel = grpc.secure_channel(
            f"127.0.0.1:{port}",
            channel_credentials(leaf, roots),
            options=[
                ("grpc.ssl_target_name_override", NAME),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
                *options,
            ],
        )

    def say(self, request=b"hello", **options):
        """Ask `Say`; what the handler knew."""
        say = self.channel.unary_unary("/t.Echo/Say")
        return json.loads(say(request, **{"timeout": PATIENCE, **options}))

    def fails(self, method="Say", request=b"hello", **options):
        """The error of a call that must fail."""
        call = self.channel.unary_unary(f"/t.Echo/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(request, **{"timeout": PATIENCE, **options})
        return caught.value

    def close(self):
        self.channel.close()


@pytest.fixture
def call(ca):
    """`call(running, service)`: a caller of that name; closed with the test."""
    made = []

    def calling(running, service="frontend", leaf=None, roots=None, options=()):
        leaf = leaf or ca.leaf(uris=[ca.id_of(service)])
        caller = Caller(running.port, leaf, roots or ca.bundle.roots, options)
        made.append(caller)
        return caller

    yield calling
    for caller in made:
        caller.close()
