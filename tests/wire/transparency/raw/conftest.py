"""One application behind one server twice, alone and in the mesh, and bare sockets to both."""

from __future__ import annotations

import asyncio
import contextlib
import re
import runpy
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypercorn.asyncio import serve as serve_with_hypercorn
from hypercorn.config import Config

from meshlib import Mesh
from meshlib.serve.asgi import MeshASGI
from meshlib.serve.hypercorn import HypercornServer
from meshlib.serve.options import DrainConfig
from meshlib.serve.sockets import listen
from meshlib.serve.uvicorn import AsgiServer
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

HERE = Path(__file__).parent
Bare = runpy.run_path(str(HERE / "bare.py"))["Bare"]
PATIENCE = 20.0
OURS = re.compile(rb"^(?:date|server|x-mesh-[a-z-]*):[^\n]*\n", re.IGNORECASE | re.MULTILINE)
"""The time, a name that the mesh does not tell, and what the mesh adds."""
SERVERS = ["h11", "httptools", "hypercorn"]


@dataclass
class Place:
    """An application behind a server, in the mesh or not."""

    meshed: bool
    app: Any
    address: tuple[str, int]
    context: MeshContext | None = None

    def connect(self, alpn=()):
        """A socket to it; TLS of a peer where it is in the mesh."""
        sock = socket.create_connection(self.address, timeout=PATIENCE)
        # without it what follows a handshake waits 40 ms for an ACK
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is None:
            return sock
        self.context._alpn = tuple(alpn)
        return self.context.wrap_socket(sock, server_hostname="shop")

    async def open(self):
        """The same for an event loop."""
        name = None if self.context is None else "shop"
        return await asyncio.open_connection(*self.address, ssl=self.context, server_hostname=name)

    def exchange(self, *parts):
        """What comes back for these bytes until the server closes, without what differs."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            return _without_ours(_rest_of(sock))


def _rest_of(sock):
    """All until the end; a connection that is reset has said all it says."""
    said = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            said += part
    return bytes(said)


def _without_ours(said):
    """An answer without what is meant to differ."""
    return OURS.sub(b"", said)


@pytest.fixture(scope="session")
def rest_of():
    """All that a socket says until its end."""
    return _rest_of


@pytest.fixture(scope="session")
def without_ours():
    """An answer without what is meant to differ."""
    return _without_ours


@pytest.fixture(scope="session")
def read_until():
    """Read a socket until these bytes are there."""

    def read(sock, mark):
        said = bytearray()
        while mark not in said:
            part = sock.recv(65536)
            assert part, bytes(said)
            said += part
        return bytes(said)

    return read


@contextlib.contextmanager
def thread_of(run, stop):
    """Run on a thread while the block lasts."""
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(PATIENCE)


@contextlib.contextmanager
def alone(kind, app, **options):
    """As anybody would run it; its address."""
    with listen("127.0.0.1", 0, field="port") as sock:
        address = sock.getsockname()
        run, stop = (_hypercorn if kind == "hypercorn" else _uvicorn)(kind, app, sock, options)
        with thread_of(run, stop):
            yield address


def _uvicorn(kind, app, sock, options):
    config = uvicorn.Config(app, log_level="critical", http=kind, proxy_headers=False, **options)
    server = uvicorn.Server(config)

    def stop():
        server.should_exit = True

    return lambda: server.run([sock]), stop


def _hypercorn(_kind, app, sock, options):
    config, loops, leave = Config(), [], asyncio.Event()
    config.bind = [f"fd://{sock.detach()}"]  # which closes it
    config.errorlog = None
    config.graceful_timeout = 0.1  # at the end nobody waits for an answer
    for name, value in options.items():
        setattr(config, name, value)

    async def main():
        loops.append(asyncio.get_running_loop())
        await serve_with_hypercorn(app, config, shutdown_trigger=leave.wait)

    return lambda: asyncio.run(main()), lambda: loops[0].call_soon_threadsafe(leave.set)


@contextlib.contextmanager
def meshed(kind, app, mesh):
    """The same in the mesh; its address."""
    began = threading.Event()
    choice = {"server": "hypercorn"} if kind == "hypercorn" else {"http": kind}
    options = mesh._serve_options(
        started=lambda _: began.set(), drain=DrainConfig(lame_duck=0, grace=2), **choice
    )
    made = HypercornServer if kind == "hypercorn" else AsgiServer
    with listen("127.0.0.1", 0, field="port") as sock:
        server = made(MeshASGI(app, options), options, sock)
        with thread_of(server.run, server.stop):
            assert began.wait(PATIENCE)
            yield sock.getsockname()


@pytest.fixture(scope="session")
def front(tmp_path_factory):
    """A caller in the mesh."""
    with Mesh("front", home=str(tmp_path_factory.mktemp("home"))) as mesh:
        yield mesh


@pytest.fixture(scope="session", params=SERVERS)
def kind(request):
    """Each server in turn."""
    return request.param


@pytest.fixture(scope="session")
def client_context(front):
    """TLS of the caller."""
    return MeshContext(
        front.credentials,
        server_side=False,
        authorize=fellows_of(front.credentials),
        clock=time.time,
    )


@pytest.fixture(scope="session")
def place():
    """How a place is made."""
    return Place


@pytest.fixture(scope="session")
def pair(kind, front, client_context):
    """The same application alone, and in the mesh."""
    one, other = Bare(), Bare()
    with (
        Mesh("shop", home=front.settings.home) as shop,
        alone(kind, one) as plainly,
        meshed(kind, other, shop) as securely,
    ):
        yield Place(False, one, plainly), Place(True, other, securely, client_context)


@pytest.fixture
def same(pair):
    """Send the same to both; what comes back, once it is found to be the same."""

    def ask(*parts):
        plain, mesh = (place.exchange(*parts) for place in pair)
        assert plain == mesh
        return mesh

    return ask
