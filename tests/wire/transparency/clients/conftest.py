"""A server that says exactly what it is told to, alone and in the mesh, for every library."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

from meshlib import Mesh
from meshlib.adapters.urllib_request import open_request
from meshlib.serve.sockets import listen
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

PATIENCE = 9.0
OURS = ("x-mesh-", "x-envoy-expected-rq-timeout-ms", "traceparent")
PLAIN = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"hi"]
END = None
"""In a script: the end of the connection."""


@dataclass
class Server:
    """Answers each request with the script of its path, byte for byte."""

    sock: socket.socket
    context: MeshContext | None = None
    scripts: dict[str, list[bytes | None]] = field(default_factory=dict)
    heads: queue.Queue[bytes] = field(default_factory=queue.Queue)
    bodies: queue.Queue[bytes] = field(default_factory=queue.Queue)
    _open: set[socket.socket] = field(default_factory=set)

    def run(self):
        """Accept until the listening socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def forget(self):
        """What has been heard so far."""
        for each in (self.heads, self.bodies):
            with contextlib.suppress(queue.Empty):
                while True:
                    each.get_nowait()

    def close(self):
        """End all."""
        for each in (self.sock, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve(self, sock):
        sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError), sock:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            self._open.add(sock)
            try:
                self._talk(sock)
            finally:
                self._open.discard(sock)
                sock.close()

    def _talk(self, sock):
        while head := self._read(sock):
            method, target = head.decode("latin-1").split(" ")[:2]
            usual = PLAIN[:1] if method == "HEAD" else PLAIN
            for part in self.scripts.get(target.partition("?")[0], usual):
                if part is END:
                    return
                sock.sendall(part)

    def _read(self, sock):
        said = bytearray()
        while b"\r\n\r\n" not in said:
            part = sock.recv(65536)
            if not part:
                return b""
            said += part
        head, _, body = bytes(said).partition(b"\r\n\r\n")
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lower:
            while not body.endswith(b"0\r\n\r\n"):
                body += sock.recv(65536)
        elif b"\r\ncontent-length: " in lower:
            length = int(lower.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += sock.recv(65536)
        self.heads.put(head)
        self.bodies.put(body)
        return head


@dataclass
class World:
    """One of the two: the server, and where clients find it."""

    base: str
    server: Server
    mesh: Mesh | None = None

    def head(self):
        """The head of the next request, as lines, without what the mesh adds."""
        lines = self.server.heads.get(timeout=PATIENCE).decode("latin-1").split("\r\n")
        host = self.base.removeprefix("http://")
        return [line.replace(host, "HERE") for line in lines if not line.lower().startswith(OURS)]


@dataclass
class Answer:
    """What a library makes of an answer."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    version: Any = None


def texts(raw):
    """Headers as a library has them, in its own case and order."""
    return [(_text(name), _text(value)) for name, value in raw]


def _text(word):
    return word if isinstance(word, str) else word.decode("latin-1")


class Httpx:
    """httpx and httpx2."""

    def __init__(self, module):
        self.module = module

    def client(self, world):
        if world.mesh is not None:
            return world.mesh.client(module=self.module)
        return self.module.Client(trust_env=False, verify=False)

    def ask(self, world, method, path, **options):
        if "data" in options:
            options["content"] = options.pop("data")
        with self.client(world) as client:
            got = client.request(method, world.base + path, **options)
            return self.answer(got, got.content)

    @staticmethod
    def answer(got, body):
        version = got.http_version
        return Answer(got.status_code, got.reason_phrase, texts(got.headers.raw), body, version)


class HttpxAsync(Httpx):
    """The same in an event loop."""

    def client(self, world):
        if world.mesh is not None:
            return world.mesh.async_client(module=self.module)
        return self.module.AsyncClient(trust_env=False, verify=False)

    def ask(self, world, method, path, **options):
        if "data" in options:
            options["content"] = options.pop("data")

        async def main():
            async with self.client(world) as client:
                got = await client.request(method, world.base + path, **options)
                return self.answer(got, got.content)

        return asyncio.run(main())


class Requests:
    """requests."""

    @staticmethod
    def ask(world, method, path, **options):
        session = world.mesh.requests_session() if world.mesh else requests.Session()
        with session:
            session.trust_env = False
            got = session.request(method, world.base + path, allow_redirects=False, **options)
            headers = texts(got.raw.headers.iteritems())
            return Answer(got.status_code, got.reason, headers, got.content, got.raw.version)


class Urllib3:
    """urllib3."""

    @staticmethod
    def ask(world, method, path, **options):
        if "data" in options:
            options["body"] = options.pop("data")
        manager = urllib3.PoolManager() if world.mesh is None else world.mesh.pool_manager()
        with manager:
            got = manager.request(
                method, world.base + path, retries=False, redirect=False, **options
            )
            headers = texts(got.headers.iteritems())
            return Answer(got.status, got.reason, headers, got.data, got.version)


class Aiohttp:
    """aiohttp."""

    @staticmethod
    def ask(world, method, path, **options):
        if "timeout" in options:
            options["timeout"] = aiohttp.ClientTimeout(sock_read=options["timeout"])

        async def main():
            mesh = world.mesh
            async with mesh.aiohttp_session() if mesh else aiohttp.ClientSession() as session:
                where = world.base + path
                async with session.request(method, where, allow_redirects=False, **options) as got:
                    headers = texts(got.raw_headers)
                    return Answer(
                        got.status, got.reason, headers, await got.read(), tuple(got.version)
                    )

        return asyncio.run(main())


class UrllibRequest:
    """urllib.request, as `meshlib run` has it."""

    @staticmethod
    def ask(world, method, path, **options):
        options.setdefault("headers", {})
        timeout = options.pop("timeout", PATIENCE)
        request = urllib.request.Request(world.base + path, method=method, **options)
        opener = urllib.request.build_opener(_Handler(world.mesh), urllib.request.ProxyHandler({}))
        try:
            got = opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            got = error
        with got:
            return Answer(
                got.status, got.reason, texts(got.headers.items()), got.read(), got.version
            )


class _Handler(urllib.request.HTTPHandler):
    def __init__(self, mesh):
        super().__init__()
        self.mesh = mesh

    def http_open(self, req):
        if self.mesh is None:
            return super().http_open(req)
        return open_request(self.mesh._services("shop"), "shop", req)


LIBRARIES = {
    "httpx": Httpx(httpx),
    "httpx2": Httpx(httpx2),
    "httpx-async": HttpxAsync(httpx),
    "requests": Requests(),
    "urllib3": Urllib3(),
    "aiohttp": Aiohttp(),
    "urllib.request": UrllibRequest(),
}


@pytest.fixture(params=LIBRARIES)
def name(request):
    """Each in turn."""
    return request.param


@pytest.fixture
def library(name):
    """What asks."""
    return LIBRARIES[name]


@contextlib.contextmanager
def serving(context=None):
    """A server on a thread."""
    with listen("127.0.0.1", 0, field="port") as sock:
        server = Server(sock, context)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join(PATIENCE)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory):
    """The server alone, and as a service of the mesh."""
    home = str(tmp_path_factory.mktemp("home"))
    with Mesh("shop", home=home) as shop, Mesh("front", home=home) as front:
        known = shop.credentials
        context = MeshContext(known, server_side=True, authorize=fellows_of(known), clock=time.time)
        with serving() as plain, serving(context) as meshed:
            lease = shop._register("127.0.0.1", meshed.sock.getsockname()[1])
            yield (
                World(f"http://127.0.0.1:{plain.sock.getsockname()[1]}", plain),
                World("http://shop", meshed, front),
            )
            lease.close()


@pytest.fixture
def told(worlds):
    """Both servers say this for that path."""

    def tell(path, *script):
        for world in worlds:
            world.server.scripts[path] = list(script)

    return tell


@pytest.fixture
def outcomes(worlds, library):
    """Ask both; what each library makes of it: an answer, or the exception it raised."""

    def ask(method, path, **options):
        made = []
        for world in worlds:
            try:
                made.append(library.ask(world, method, path, **options))
            except Exception as error:  # noqa: BLE001 - it is what is compared
                made.append(error)
        return made

    return ask
