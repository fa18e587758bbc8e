"""A mesh of throw-away certificates, servers in threads and in processes, and clients for them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import meshlib
from meshlib.observe.events import Inbound
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.serve.asgi import MeshASGI
from meshlib.serve.hypercorn import HypercornServer
from meshlib.serve.options import DrainConfig, Listening, ServeOptions
from meshlib.serve.sockets import listen
from meshlib.serve.uvicorn import AsgiServer
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.carried import carry
from meshlib.trust.bundle import Credentials
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import member_of
from meshlib.watch import Watch

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here takes a tenth of it."""


@pytest.fixture(scope="session")
def ca() -> ThrowawayCA:
    return ThrowawayCA("example.org", now=time.time())


@pytest.fixture(scope="session")
def foreign_ca() -> ThrowawayCA:
    return ThrowawayCA("example.org", now=time.time())


@dataclass
class Client:
    """Speaks HTTP/1.1 to one server, as one service, over connections it can count."""

    credentials: Watch[Credentials]

    def connect(self, host: str, port: int, alpn: tuple[str, ...] = ()) -> Any:
        """A verified TLS connection."""
        context = MeshContext(
            self.credentials,
            server_side=False,
            authorize=member_of("example.org"),
            clock=time.time,
            alpn=alpn,
        )
        sock = socket.create_connection((host, port), timeout=PATIENCE)
        return context.wrap_socket(sock, server_hostname="backend")

    def open(self, host: str, port: int) -> http.client.HTTPConnection:
        """A keep-alive HTTP connection."""
        return over(self.connect(host, port))

    def get(self, host: str, port: int, path: str, **headers: str) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = self.open(host, port)
        try:
            return self.ask(connection, path, **headers)
        finally:
            connection.close()

    def exchange(self, host: str, port: int, request: bytes) -> bytes:
        """Send bytes, and read until the server closes."""
        return exchange(self.connect(host, port), request)

    @staticmethod
    def plain(host: str, port: int) -> http.client.HTTPConnection:
        """A keep-alive HTTP connection without TLS."""
        return over(socket.create_connection((host, port), timeout=PATIENCE))

    @staticmethod
    def ask(connection: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, bytes]:
        """One request; of a header's name, `__` becomes `-`."""
        names = {name.replace("__", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=names)
        response = connection.getresponse()
        return response.status, response.read()


def over(sock: Any) -> http.client.HTTPConnection:
    """HTTP over a socket; it is not opened again when the server closes it."""
    connection = http.client.HTTPConnection("backend")
    connection.sock = sock
    connection.auto_open = 0
    return connection


def exchange(sock: Any, request: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    with sock:
        sock.sendall(request)
        answer = bytearray()
        while chunk := sock.recv(65536):
            answer += chunk
    return bytes(answer)


@pytest.fixture
def client(ca: ThrowawayCA) -> Client:
    return Client(Watch(ca.credentials("frontend"), ready=True))


@dataclass
class Recorder(Quiet):
    """A listener and a lease that write everything down."""

    events: list[str] = field(default_factory=list)
    served: list[tuple[Inbound, int]] = field(default_factory=list)
    heard: threading.Condition = field(default_factory=threading.Condition)

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        assert seconds >= 0
        with self.heard:
            self.served.append((inbound, status))
            self.heard.notify_all()

    def wait_served(self, count: int) -> list[tuple[str, int]]:
        """Paths and statuses, once there are `count` of them."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.served) >= count, PATIENCE)
            return [(inbound.path, status) for inbound, status in self.served]

    def drain(self) -> None:
        self.events.append("drain")

    def close(self) -> None:
        with self.heard:
            self.events.append("close")
            self.heard.notify_all()

    def wait_closed(self) -> None:
        """Until the server has left by itself; asking it a second time would hurry it."""
        with self.heard:
            assert self.heard.wait_for(lambda: "close" in self.events, PATIENCE)


@dataclass
class Running:
    """A server on a thread."""

    server: AsgiServer | HypercornServer
    app: MeshASGI
    credentials: Watch[Credentials]
    recorder: Recorder
    where: Listening

    @property
    def address(self) -> tuple[str, int]:
        return self.where.host, self.where.port


@pytest.fixture
def run(ca: ThrowawayCA) -> Callable[..., Any]:
    """Serve an ASGI application from a thread, for as long as a `with` block lasts.

    `http="hypercorn"` is that server with the parser it has.
    """

    @contextmanager
    def running(app: Any, **options: Any) -> Iterator[Running]:
        ready: list[Listening] = []
        began = threading.Event()
        recorder = Recorder()

        def register(host: str, port: int) -> Recorder:
            recorder.events.append("register")
            return recorder

        def started(where: Listening) -> None:
            ready.append(where)
            began.set()

        credentials = Watch(ca.credentials("backend"), ready=True)
        chosen = {
            "drain": DrainConfig(lame_duck=0, grace=5),
            "loop": "asyncio",
            "edge": None,
            **options,
        }
        if chosen.get("http") == "hypercorn":
            chosen |= {"server": "hypercorn", "http": "auto"}
        made = ServeOptions(
            service="backend",
            instance="backend-1",
            version="v7",
            credentials=credentials,
            authorize=member_of("example.org"),
            tracer=Passthrough(),
            listener=recorder,
            register=register,
            started=started,
            **chosen,
        )
        mesh = MeshASGI(app, made)
        main = listen("127.0.0.1", 0, field="port")
        side = listen("127.0.0.1", 0, field="edge") if made.edge else None
        made_by = HypercornServer if made.server == "hypercorn" else AsgiServer
        server = made_by(mesh, made, main, side)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            assert began.wait(PATIENCE), "the server did not start"
            yield Running(server, mesh, credentials, recorder, ready[0])
        finally:
            server.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not stop"
            for sock in (main, side):
                if sock is not None:
                    sock.close()

    return running


class Child:
    """A server process and what it has told so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.told: list[list[Any]] = []

    def wait_for(self, word: str) -> list[Any]:
        """Read until the child tells `word`; what it told."""
        while True:
            line = self.process.stdout.readline()
            assert line, f"the child ended before it told {word!r}; it told {self.told}"
            self.told.append(json.loads(line))
            if self.told[-1][0] == word:
                return self.told[-1]

    def rest(self) -> list[list[Any]]:
        """Everything it told, once all its processes have ended."""
        for line in self.process.stdout:
            self.told.append(json.loads(line))
        return self.told

    def release(self) -> None:
        """Let the request to /hold go on."""
        self.process.stdin.write(b"x")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(PATIENCE)


@pytest.fixture
def spawn(ca: ThrowawayCA, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """`spawn("asgi", port=0, ...)` starts `child.py`."""
    children: list[Child] = []
    file = tmp_path / "credentials"
    carry(ca.credentials("backend"), file)
    source = Path(meshlib.__file__).parents[1]
    program = Path(__file__).with_name("child.py")

    def start(kind: str, **options: Any) -> Child:
        process = subprocess.Popen(
            [sys.executable, str(program), kind, str(file), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(source)},
            start_new_session=True,
        )
        child = Child(process)
        children.append(child)
        return child

    yield start
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait(PATIENCE)
        child.process.stdin.close()
        child.process.stdout.close()
