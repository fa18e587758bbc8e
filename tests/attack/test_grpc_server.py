"""Every bad credential, and everything a proven peer may try, against both gRPC servers of ours."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import grpc.aio
import pytest

from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.serve.grpc.aio_server import MeshAioServer
from meshlib.serve.grpc.server import MeshGrpcServer
from meshlib.serve.options import DrainConfig, ServeOptions
from meshlib.testing.arena import Arena
from meshlib.testing.attacks import bad, good
from meshlib.testing.evil import PATIENCE, careless, dial
from meshlib.testing.grpc_call import HandMade
from meshlib.trust.verify import member_of
from meshlib.watch import Watch

NOBODY = Arena(0.0)
"""For the names only: what the tests show is made by the arena of the session."""
BAD = [each.name for each in bad(NOBODY) if "client" in each.by]
GOOD = [each.name for each in good(NOBODY) if "client" in each.by]
SAY = "/t.Echo/Say"
UNAUTHENTICATED, OK = "16", "0"


class Lease:
    def drain(self): ...

    def close(self): ...


class Site:
    """A server, its world, and the messages that reached the application, decoder and all."""

    def __init__(self, arena):
        self.credentials = Watch(arena.credentials(), ready=True)
        self.skew = 0.0
        self.calls = []
        self.address = None

    def options(self):
        return ServeOptions(
            service="me",
            instance="me-1",
            credentials=self.credentials,
            authorize=member_of("example.org"),
            tracer=Passthrough(),
            listener=Quiet(),
            register=lambda *_: Lease(),
            drain=DrainConfig(lame_duck=0, grace=5),
            unix=lambda: time.time() + self.skew,
        )

    def decode(self, message):
        self.calls.append(("decode", message))
        return message

    def answer(self, request, context):
        self.calls.append(("answer", request))
        return json.dumps([list(pair) for pair in context.invocation_metadata()]).encode()

    async def answer_in_loop(self, request, context):
        return self.answer(request, context)

    def handler(self, behavior):
        made = grpc.unary_unary_rpc_method_handler(behavior, self.decode)
        return grpc.method_handlers_generic_handler("t.Echo", {"Say": made})


@contextmanager
def threads_site(arena):
    site, pool = Site(arena), ThreadPoolExecutor(4)
    server = MeshGrpcServer(site.options, pool)
    server.add_generic_rpc_handlers((site.handler(site.answer),))
    server.start()
    site.address = server.listening.host, server.listening.port
    yield site
    server.stop(None).wait(PATIENCE)
    pool.shutdown()


@contextmanager
def loop_site(arena):
    site, loop = Site(arena), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start():
        server = MeshAioServer(site.options)
        server.add_generic_rpc_handlers((site.handler(site.answer_in_loop),))
        await server.start()
        return server

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    server = run(start())
    site.address = server.listening.host, server.listening.port
    yield site
    run(server.stop(None))
    run(loop.shutdown_default_executor())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=[threads_site, loop_site], ids=["threads", "loop"], scope="module")
def site(request, arena):
    """Each server in turn."""
    with request.param(arena) as running:
        yield running


@pytest.fixture(params=[threads_site, loop_site], ids=["threads", "loop"])
def own_site(request, arena):
    """Each server in turn, for one test alone."""
    with request.param(arena) as running:
        yield running


@pytest.fixture(scope="module")
def shown(arena):
    """What a peer shows, by its name."""
    return {each.name: each for each in (*bad(arena), *good(arena))}


@contextmanager
def connected(site, context):
    """A connection, or None when the handshake fails."""
    context.set_alpn_protocols(["h2"])
    with dial(site.address) as sock:
        try:
            tls = context.wrap_socket(sock, server_hostname="me")
        except OSError:
            yield None
            return
        with tls:
            try:
                connection = HandMade(tls)
            except OSError:
                yield None
                return
            yield connection


@pytest.mark.parametrize("name", BAD)
def test_bad_client(site, arena, shown, name):
    """A bad client gets no answer but UNAUTHENTICATED, and not even a decoder sees its message."""
    site.calls.clear()
    context = careless(arena, shown[name].leaf, server_side=False)
    with connected(site, context) as connection:
        heard, data = connection.call(SAY, b"hello") if connection else ({}, b"")
    assert heard.get("grpc-status") in {None, UNAUTHENTICATED}
    assert b"" == data
    assert [] == site.calls


@pytest.mark.parametrize("name", GOOD)
def test_good_client(site, arena, shown, name):
    """A good client is served, however unusual it is."""
    site.calls.clear()
    context = careless(arena, shown[name].leaf, server_side=False)
    with connected(site, context) as connection:
        heard, _ = connection.call(SAY, b"hello")
    assert OK == heard["grpc-status"]
    assert [("decode", b"hello"), ("answer", b"hello")] == site.calls


def test_no_certificate(site, arena):
    """Who shows nothing is not heard."""
    site.calls.clear()
    with connected(site, careless(arena, None, server_side=False)) as connection:
        heard, _ = connection.call(SAY, b"hello") if connection else ({}, b"")
    assert heard.get("grpc-status") in {None, UNAUTHENTICATED}
    assert [] == site.calls


def test_plaintext(site):
    """Who speaks no TLS is not heard."""
    site.calls.clear()
    with dial(site.address) as sock:
        heard, _ = HandMade(sock).call(SAY, b"hello")
    assert {} == heard
    assert [] == site.calls


@pytest.fixture
def good_context(arena, shown):
    return careless(arena, shown["an ordinary leaf"].leaf, server_side=False)


def test_connection_outlives_its_root(own_site, good_context):
    """A root that is no longer trusted ends the RPCs of connections that it vouched for."""
    with connected(own_site, good_context) as connection:
        assert OK == connection.call(SAY, b"hello")[0]["grpc-status"]
        now = own_site.credentials.value
        own_site.credentials.set(replace(now, bundles={}, generation=now.generation + 1))
        own_site.calls.clear()
        assert UNAUTHENTICATED == connection.call(SAY, b"hello")[0]["grpc-status"]
        assert [] == own_site.calls


def test_connection_outlives_its_certificate(own_site, good_context):
    """A certificate that has ended ends the RPCs of its connections."""
    with connected(own_site, good_context) as connection:
        assert OK == connection.call(SAY, b"hello")[0]["grpc-status"]
        own_site.skew = 86400.0
        own_site.calls.clear()
        assert UNAUTHENTICATED == connection.call(SAY, b"hello")[0]["grpc-status"]
        assert [] == own_site.calls


CLAIMS = [
    "x-mesh-peer",
    "x_mesh_peer",
    "x-mesh_peer",
    "x-forwarded-client-cert",
    "x-spiffe-id",
    "x-spiffe_id",
    "x-mesh-peer-bin",
    "x-mesh-",
]


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_not_believed(site, good_context, name):
    """However it is spelled, no metadata that says who is calling reaches the application."""
    with connected(site, good_context) as connection:
        heard, data = connection.call(SAY, b"hello", [(name, "YWRtaW4="), ("x-kept", "1")])
    assert OK == heard["grpc-status"]
    said = json.loads(data)
    assert name not in [each for each, _ in said]
    assert ["x-kept", "1"] in said


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_a_stranger_is_not_unpickled(arena, shown):
    """A decoder that would run what it is given is not given what strangers send."""
    with threads_site(arena) as site:
        site.decode = pickle.loads
        stranger = next(name for name in BAD if "URI" in name or "id" in name)
        with connected(
            site, careless(arena, shown[stranger].leaf, server_side=False)
        ) as connection:
            if connection:
                connection.call(SAY, pickle.dumps(Bomb()))
        assert [] == site.calls


@pytest.mark.parametrize(
    "path",
    [
        "t.Echo/Say",
        "//t.Echo/Say",
        "/t.Echo/Say/",
        "/t.Echo//Say",
        "/t.Echo/../t.Echo/Say",
        "/t.Echo/Say?x=1",
        "/t.Echo/%53ay",
    ],
)
def test_other_spellings_of_a_path(site, good_context, path):
    """A method has one name only: what policy looks at is what is called."""
    site.calls.clear()
    with connected(site, good_context) as connection:
        heard, _ = connection.call(path, b"hello")
    assert OK != heard.get("grpc-status")
    assert [] == site.calls
