"""A service of the mesh, a server that is none, and a program that knows neither."""

from __future__ import annotations

import asyncio
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3
from yarl import URL

from meshlib import Mesh
from meshlib.auto import outgoing, process
from meshlib.control.registry import Registration
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

LARGE = b"0123456789abcdef" * 64 * 1024
"""More than is read ahead."""


class Site(BaseHTTPRequestHandler):
    """Tells what it was asked; `/status/404`, `/to?URL`, `/large`, `/parts`, `/cut`, `/cookie`."""

    protocol_version = "HTTP/1.1"
    server: Any

    def _serve(self) -> None:
        word, _, rest = self.path[1:].replace("?", "/", 1).partition("/")
        answer = getattr(self, f"_{word}", self._echo)
        body = self._body()
        self.server.seen.append((self.command, self.path, dict(self.headers.items()), body))
        answer(rest, body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _echo(self, rest: str, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = {
            "site": self.server.name,
            "method": self.command,
            "path": self.path,
            "headers": headers,
            "body": body.decode("latin-1"),
        }
        self._answer(200, json.dumps(said).encode())

    def _status(self, rest: str, body: bytes) -> None:
        self._answer(int(rest), b"told so")

    def _to(self, rest: str, body: bytes) -> None:
        self._answer(302, b"", Location=rest)

    def _cookie(self, rest: str, body: bytes) -> None:
        self._answer(200, b"", **{"Set-Cookie": "taste=sweet; Path=/"})

    def _large(self, rest: str, body: bytes) -> None:
        self._answer(200, LARGE)

    def _parts(self, rest: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"one ", b"two ", b"three"):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def _cut(self, rest: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(2 * len(LARGE)))
        self.end_headers()
        self.wfile.write(LARGE)
        self.close_connection = True

    def _hangup(self, rest: str, body: bytes) -> None:
        self.close_connection = True

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Speaks plain HTTP, or mutual TLS if it has a context."""

    daemon_threads = True

    def __init__(self, name: str, context: MeshContext | None = None) -> None:
        self.name, self._context = name, context
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Site)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        connection: socket.socket = request
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            super().finish_request(connection, client_address)

    def handle_error(self, *args: Any) -> None:
        pass

    def end(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture
def large() -> bytes:
    """What `/large` answers."""
    return LARGE


@pytest.fixture
def foreign() -> Iterator[Server]:
    """A server that has nothing to do with the mesh."""
    server = Server("foreign")
    yield server
    server.end()


class UnixServer(socketserver.ThreadingUnixStreamServer):
    """The same plain site, at a path."""

    name = "unix"
    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.seen: list[Any] = []
        super().__init__(path, Site)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def unix_socket(tmp_path) -> Iterator[str]:
    """The path of a server that has nothing to do with the mesh."""
    path = str(tmp_path / "s")
    server = UnixServer(path)
    yield path
    server.shutdown()
    server.server_close()


@pytest.fixture
def backend(home) -> Iterator[Server]:
    """The service of that name."""
    with Mesh("backend") as mesh:
        context = MeshContext(
            mesh.credentials,
            server_side=True,
            authorize=fellows_of(mesh.credentials),
            clock=time.time,
        )
        server = Server("backend", context)
        at = "127.0.0.1", server.server_port
        lease = mesh.control.register(Registration("backend", "backend-1", *at))
        yield server
        lease.close()
        server.end()


@dataclass
class Program:
    """What an unmodified program does, in one library."""

    library: str
    send: Callable[..., tuple[int, bytes]]
    """Method, URL, and perhaps `data` and `headers`; the status and the body."""
    error: type[BaseException]
    """What all its errors are."""

    def get(self, url: str, **options: Any) -> tuple[int, bytes]:
        return self.send("GET", url, **options)

    def told(self, url: str, **options: Any) -> dict[str, Any]:
        """What an echo says."""
        status, body = self.get(url, **options)
        assert 200 == status
        return json.loads(body)


def _requests(method, url, *, data=None, headers=None):
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(method, url, data=data, headers=headers, timeout=20)
        return response.status_code, response.content


def _urllib3(method, url, *, data=None, headers=None):
    with urllib3.PoolManager() as pools:
        response = pools.request(method, url, body=data, headers=headers, timeout=20)
        return response.status, response.data


def _urllib_request(method, url, *, data=None, headers=None):
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _sync_httpx(module):
    def send(method, url, *, data=None, headers=None):
        with module.Client(timeout=20, follow_redirects=True, trust_env=False) as client:
            response = client.request(method, url, content=data, headers=headers)
            return response.status_code, response.content

    return send


def _async_httpx(module):
    def send(method, url, *, data=None, headers=None):
        async def main():
            async with module.AsyncClient(
                timeout=20, follow_redirects=True, trust_env=False
            ) as client:
                response = await client.request(method, url, content=data, headers=headers)
                return response.status_code, response.content

        return asyncio.run(main())

    return send


def _aiohttp(method, url, *, data=None, headers=None):
    async def main():
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, URL(url, encoded=True), data=data, headers=headers) as response,
        ):
            return response.status, await response.read()

    return asyncio.run(main())


PROGRAMS = {
    "aiohttp": Program("aiohttp", _aiohttp, aiohttp.ClientError),
    "requests": Program("requests", _requests, requests.RequestException),
    "urllib3": Program("urllib3", _urllib3, urllib3.exceptions.HTTPError),
    "urllib_request": Program("urllib_request", _urllib_request, OSError),
    "httpx": Program("httpx", _sync_httpx(httpx), httpx.TransportError),
    "httpx-async": Program("httpx", _async_httpx(httpx), httpx.TransportError),
    "httpx2": Program("httpx2", _sync_httpx(httpx2), httpx2.TransportError),
    "httpx2-async": Program("httpx2", _async_httpx(httpx2), httpx2.TransportError),
}


@pytest.fixture(params=PROGRAMS)
def program(request) -> Program:
    """Each library in turn."""
    return PROGRAMS[request.param]


@pytest.fixture
def meshed(home) -> Iterator[Callable[..., Mesh]]:
    """Make this process part of the mesh, as `front`."""
    made: list[Mesh] = []

    def join(addresses: str = "", **settings: Any) -> Mesh:
        mesh = Mesh("front", upstream_addresses=addresses, **settings)
        made.append(mesh)
        process.install(mesh)
        outgoing.wrap()
        return mesh

    yield join
    outgoing.unwrap()
    process.reset()
    for mesh in made:
        mesh.close()
