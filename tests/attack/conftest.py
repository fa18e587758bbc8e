"""Our side, every way to call from it and every server of it; made once, as all of it is shared."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import ssl
import threading
import time
from contextlib import ExitStack

import aiohttp
import httpx
import pytest
import requests
import urllib3
import uvloop

from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.aside_sync import Threads
from meshlib.adapters.engine_async import AsyncEngine
from meshlib.adapters.engine_sync import SyncEngine
from meshlib.adapters.httpx import face
from meshlib.adapters.requests import MeshAdapter
from meshlib.adapters.trust import ClientTrust
from meshlib.adapters.urllib3 import MeshPoolManager
from meshlib.balance.upstream import Upstream
from meshlib.config import RetryConfig, UpstreamConfig
from meshlib.model import Attempt, Bound, Call, Endpoint, Snapshot, Target
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import straight
from meshlib.runtime import AsyncRuntime, SyncRuntime, real_clock, run_sync
from meshlib.stack.client import Destination, client_stack
from meshlib.testing.arena import Arena
from meshlib.testing.evil import PATIENCE, EvilServer, dial
from meshlib.testing.sites import NAMES, asgi_site, gunicorn_site
from meshlib.trust.tls import MeshContext, allow_ids, member_of
from meshlib.watch import Watch

ARENA = Arena(time.time())
SECRET = "/only-for-peer"
"""What our clients ask for; a stranger must never hear of it."""


@pytest.fixture(scope="session")
def arena():
    """The authorities, and who is who."""
    return ARENA


@pytest.fixture(scope="session")
def our_context():
    """`our_context(server_side=...)`: our side's TLS, made once unless it has terms of its own."""
    watch = Watch(ARENA.credentials(), ready=True)
    made = {}

    def context(*, server_side, **terms):
        key = (server_side, *sorted(terms.items()))
        authorize = member_of("example.org") if server_side else allow_ids(ARENA.peer)
        if key not in made:
            made[key] = MeshContext(
                watch, server_side=server_side, authorize=authorize, clock=time.time, **terms
            )
        return made[key]

    return context


@pytest.fixture(scope="session")
def evil():
    """A server that shows what it is told to."""
    with EvilServer() as server:
        yield server


# ---- our clients


class LoopThread:
    """An event loop that lives as long as the session."""

    def __init__(self, new_loop):
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Caller:
    """One way to call `peer`, by its name; `call(address)` returns a status."""

    def __init__(self, name, call):
        self.name, self.call = name, call


def destination_at(address):
    """`peer`, served at one address, without a past: no attempt is refused for an earlier one."""
    config = Watch(UpstreamConfig(retry=RetryConfig(attempts=1)), ready=True)
    upstream = Upstream("peer", real_clock, random.Random(1), config.value)
    upstream.update(Bound(Snapshot("peer", (Endpoint("evil", *address),))))
    return Destination(
        service="peer",
        config=config,
        table=Watch(straight(Target("peer")), ready=True),
        upstream=lambda _: upstream,
        backoff=config.map(lambda value: value.retry.backoff).map(Backoff),
        budget=Watch(RetryBudget(real_clock, config.value.retry.budget), ready=True),
    )


@pytest.fixture(scope="session")
def destination_of():
    """`destination_of(address)`: `peer`, served there alone."""
    return destination_at


def attempt_at(address):
    call = Call("peer", "GET", SECRET)
    return Attempt(call, endpoint=Endpoint("evil", *address), connect_timeout=PATIENCE)


class Peers:
    """What a control plane would say of its services."""

    oldest_tls = ssl.TLSVersion.TLSv1_3

    def spiffe_id(self, service, datacenter=""):
        return ARENA.ours.id_of(service)

    def server_name(self, service, subset="", datacenter=""):
        return ""


class Ways:
    """Every way there is, over engines that live as long as this does."""

    def __init__(self, context):
        self.context = context
        self.trust = ClientTrust(Watch(ARENA.credentials(), ready=True), Peers())
        self.engine = SyncEngine(self.trust, clock=real_clock, idle=PATIENCE)
        self.aside = Threads()
        self.loops, self.engines = {}, {}
        for name, new in ("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop):
            loop = self.loops[name] = LoopThread(new)
            self.engines[name] = loop.run(self._async_engine())

    async def _async_engine(self):
        return AsyncEngine(self.trust, clock=real_clock, idle=PATIENCE), Tasks()

    def close(self):
        self.aside.close()
        self.engine.close()
        for name, loop in self.loops.items():
            engine, aside = self.engines[name]
            loop.run(aside.close())
            loop.run(engine.close())
            loop.stop()

    def services(self, address):
        runtime = SyncRuntime(rng=random.Random(1), aside=self.aside)
        service = self._stack(address, self.engine, runtime)
        return lambda _: service

    def async_services(self, address, loop):
        engine, aside = self.engines[loop]
        runtime = AsyncRuntime(rng=random.Random(1), aside=aside)
        service = self._stack(address, engine, runtime)
        return lambda _: service

    @staticmethod
    def _stack(address, engine, runtime):
        return client_stack(
            destination_at(address),
            engine,
            runtime=runtime,
            tracer=Passthrough(),
            listener=Quiet(),
        )

    def socket(self, address):
        with dial(address) as sock:
            with self.context.wrap_socket(sock) as tls:
                return self._spoken(tls)

    def lazy_socket(self, address):
        with dial(address) as sock:
            with self.context.wrap_socket(sock, do_handshake_on_connect=False) as tls:
                return self._spoken(tls)

    def connecting_socket(self, address):
        with self.context.wrap_socket(socket.socket()) as tls:
            tls.settimeout(PATIENCE)
            tls.connect(address)
            return self._spoken(tls)

    @staticmethod
    def _spoken(tls):
        tls.sendall(f"GET {SECRET} HTTP/1.1\r\nhost: peer\r\n\r\n".encode())
        return int(tls.recv(100).split()[1])

    def http_client(self, address):
        connection = http.client.HTTPSConnection(*address, timeout=PATIENCE, context=self.context)
        connection.request("GET", SECRET)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    def streams(self, loop, address):
        async def call():
            reader, writer = await asyncio.open_connection(*address, ssl=self.context)
            writer.write(f"GET {SECRET} HTTP/1.1\r\nhost: peer\r\n\r\n".encode())
            line = await reader.readline()
            writer.close()
            return int(line.split()[1])

        return self.loops[loop].run(call())

    def bare_aiohttp(self, loop, address):
        async def call():
            async with aiohttp.ClientSession() as session:
                url = "https://{}:{}".format(*address) + SECRET
                async with session.get(url, ssl=self.context) as response:
                    return response.status

        return self.loops[loop].run(call())

    def bare_httpx(self, address):
        url = "https://{}:{}".format(*address) + SECRET
        with httpx.Client(verify=self.context, trust_env=False) as client:
            return client.get(url).status_code

    def bare_urllib3(self, address):
        url = "https://{}:{}".format(*address) + SECRET
        with urllib3.PoolManager(ssl_context=self.context, retries=False) as pool:
            return pool.request("GET", url).status

    def sync_engine(self, address):
        return run_sync(self.engine(attempt_at(address))).status

    def async_engine(self, loop, address):
        async def call():
            reply = await self.engines[loop][0](attempt_at(address))
            return reply.status

        return self.loops[loop].run(call())

    def httpx_face(self, address):
        transport = face(httpx).transport(self.services(address))
        with httpx.Client(transport=transport) as client:
            return client.get(f"http://peer{SECRET}").status_code

    def async_httpx_face(self, loop, address):
        async def call():
            transport = face(httpx).async_transport(self.async_services(address, loop))
            async with httpx.AsyncClient(transport=transport) as client:
                return (await client.get(f"http://peer{SECRET}")).status_code

        return self.loops[loop].run(call())

    def requests_face(self, address):
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", MeshAdapter(self.services(address)))
            return session.get(f"http://peer{SECRET}").status_code

    def urllib3_face(self, address):
        with MeshPoolManager(self.services(address)) as pools:
            return pools.request("GET", f"http://peer{SECRET}").status


SYNC_WAYS = [
    "socket",
    "lazy_socket",
    "connecting_socket",
    "http_client",
    "bare_httpx",
    "bare_urllib3",
    "sync_engine",
    "httpx_face",
    "requests_face",
    "urllib3_face",
]
ASYNC_WAYS = ["streams", "bare_aiohttp", "async_engine", "async_httpx_face"]
WAYS = [(name, None) for name in SYNC_WAYS] + [
    (name, loop) for name in ASYNC_WAYS for loop in ("asyncio", "uvloop")
]


@pytest.fixture(scope="session")
def ways(our_context):
    """All that is needed for any way to call."""
    made = Ways(our_context(server_side=False))
    yield made
    made.close()


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(filter(None, way)), scope="session")
def call(request, ways):
    """Each way to call in turn: `call(address)` returns the status of the answer."""
    name, loop = request.param
    way = getattr(ways, name)
    return way if loop is None else lambda address: way(loop, address)


# ---- our servers


@pytest.fixture(scope="session")
def good_client():
    """The context of a client that may come in."""
    return MeshContext(
        Watch(ARENA.ours.credentials("front"), ready=True),
        server_side=False,
        authorize=allow_ids(ARENA.me),
        clock=time.time,
    )


@pytest.fixture(scope="session")
def start(tmp_path_factory, good_client):
    """Run a server of that name (see `testing.sites`) for as long as a `with` block lasts."""

    def starting(name):
        if name == "gthread":
            return gunicorn_site(ARENA, tmp_path_factory.mktemp("gunicorn"), good_client)
        return asgi_site(ARENA, *name.split("-"), good_client)

    return starting


@pytest.fixture(scope="session")
def sites(start):
    """Each server by name; it is started when it is first asked for."""
    running = {}
    with ExitStack() as stack:

        def of(name):
            if name not in running:
                running[name] = stack.enter_context(start(name))
            return running[name]

        yield of


@pytest.fixture(params=NAMES, scope="session")
def site(request, sites):
    """Each server in turn."""
    return sites(request.param)
