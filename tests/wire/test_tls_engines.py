"""The libraries that take an SSLContext take ours, and refuse whom it refuses."""

import asyncio
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import pytest
import urllib3
import uvicorn
import uvloop
from aiohttp import web

from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.tls import MeshContext, PeerRejected, allow_ids, member_of, peer_of
from meshlib.watch import Watch

CA = ThrowawayCA(now=time.time())
PATIENCE = 20.0


def mesh(service, *, server_side, authorize=None):
    watch = Watch(CA.credentials(service), ready=True)
    authorize = authorize or member_of("example.org")
    return MeshContext(watch, server_side=server_side, authorize=authorize, clock=time.time)


def wary():
    """A client that talks to nobody who is there."""
    return mesh("web", server_side=False, authorize=allow_ids(CA.id_of("other")))


def causes(exc):
    """Everything that led to an exception, however the library wrapped it."""
    found = []
    while exc is not None and exc not in found:
        found.append(exc)
        exc = getattr(exc, "reason", None) or exc.__cause__ or exc.__context__
    return [type(each) for each in found]


class Handler(BaseHTTPRequestHandler):
    """Says who called, and counts what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        body = json.dumps(str(peer_of(self.connection).spiffe_id)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class MeshHTTPServer(ThreadingHTTPServer):
    """The standard library's server; each connection is wrapped in its own thread."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.context = mesh("db", server_side=True)

    def finish_request(self, request, client_address):
        try:
            with self.context.wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)
        except OSError:
            pass


@pytest.fixture
def server():
    """A server in a thread; its `url` and what it was `asked`."""
    with MeshHTTPServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"https://127.0.0.1:{server.server_port}/"
        yield server
        server.shutdown()
        thread.join()


def urllib3_get(url, context):
    with urllib3.PoolManager(ssl_context=context, retries=False, timeout=PATIENCE) as pool:
        return pool.request("GET", url).json()


def urllib3_get_without_names(url, context):
    """As engines do that know that names do not matter."""
    with urllib3.PoolManager(
        ssl_context=context, assert_hostname=False, retries=False, timeout=PATIENCE
    ) as pool:
        return pool.request("GET", url).json()


def httpx_get(url, context):
    with httpx.Client(verify=context, timeout=PATIENCE, trust_env=False) as client:
        return client.get(url).json()


async def aiohttp_get(url, context):
    timeout = aiohttp.ClientTimeout(PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(url, ssl=context) as response:
            return await response.json(content_type=None)


def aiohttp_on_asyncio(url, context):
    return asyncio.run(aiohttp_get(url, context))


def aiohttp_on_uvloop(url, context):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(aiohttp_get(url, context))


CLIENTS = [
    urllib3_get,
    urllib3_get_without_names,
    httpx_get,
    aiohttp_on_asyncio,
    aiohttp_on_uvloop,
]


@pytest.mark.parametrize("get", CLIENTS)
def test_client(get, server):
    """Each client library reaches the right server, and is known to it."""
    assert CA.id_of("web") == get(server.url, mesh("web", server_side=False))
    assert ["/"] == server.asked


@pytest.mark.parametrize("get", CLIENTS)
def test_client_refuses(get, server):
    """Each client library fails on the wrong server before it asks for anything."""
    with pytest.raises(Exception, match="not who is expected") as caught:
        get(server.url, wary())
    assert (
        PeerRejected in causes(caught.value) or aiohttp.ClientSSLError in type(caught.value).mro()
    )
    assert [] == server.asked


def test_urllib3_cannot_switch_it_off(server):
    """CERT_NONE asked of urllib3 is an error, not a connection to anybody."""
    with (
        urllib3.PoolManager(
            ssl_context=wary(), cert_reqs=ssl.CERT_NONE, assert_hostname=False, retries=False
        ) as pool,
        pytest.raises(ValueError, match="CERT_REQUIRED"),
    ):
        pool.request("GET", server.url)
    assert [] == server.asked


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("client_context", [mesh, None], ids=["right client", "nobody"])
def test_aiohttp_server(new_loop, client_context):
    """aiohttp serves on it, on asyncio and uvloop: members are answered, nobody else."""

    async def who(request):
        return web.json_response(
            str(peer_of(request.transport.get_extra_info("ssl_object")).spiffe_id)
        )

    async def main():
        app = web.Application()
        app.router.add_get("/", who)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=mesh("db", server_side=True))
        await site.start()
        try:
            url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
            return await aiohttp_get(url, client())
        finally:
            await runner.cleanup()

    def client():
        return mesh("web", server_side=False) if client_context else anonymous()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        if client_context:
            assert CA.id_of("web") == runner.run(main())
        else:
            with pytest.raises(aiohttp.ClientError):
                runner.run(main())


def anonymous():
    """A client without a certificate, that trusts our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    for root in CA.bundle.roots:
        context.load_verify_locations(cadata=root)
    return context


class Served(uvicorn.Server):
    """uvicorn in a thread, that says when it listens."""

    def __init__(self, config):
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.up.set()

    @property
    def url(self):
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"https://127.0.0.1:{port}/"


async def hello(scope, _, send):
    """The smallest ASGI app."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'"hello"'})


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_uvicorn(loop):
    """uvicorn takes it from its context factory, and answers members only."""
    context = mesh("db", server_side=True)
    config = uvicorn.Config(
        hello,
        host="127.0.0.1",
        port=0,
        loop=loop,
        lifespan="off",
        log_config=None,
        ssl_context_factory=lambda *_: context,
    )
    server = Served(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.up.wait(PATIENCE)
        assert "hello" == urllib3_get(server.url, mesh("web", server_side=False))
        with pytest.raises(urllib3.exceptions.HTTPError):
            urllib3_get_without_names(server.url, anonymous())
    finally:
        server.should_exit = True
        thread.join()
