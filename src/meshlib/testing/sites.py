"""
Every server of ours, around an application that tells what reached it.

A `Site` is asked over a connection of a good peer: `/calls` answers with the paths that reached the
application so far, `/rotate` makes its credentials trust nobody, `/skew` moves its clock by a day.
Any other path is noted, its body read to the end, and answered with the headers as they are then.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from typing import Any

import meshlib
from meshlib.config import ServingConfig
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.route.match import PathTest
from meshlib.route.text import How, Text
from meshlib.serve import serve
from meshlib.serve.authorize import Authorization
from meshlib.serve.options import DrainConfig, Listening, ServeOptions
from meshlib.testing.arena import Arena
from meshlib.testing.carried import carried, carry
from meshlib.testing.evil import PATIENCE, dial
from meshlib.trust.bundle import Credentials
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.permission import Permission
from meshlib.trust.verify import member_of
from meshlib.watch import Watch

WEBSOCKETS = {
    "h11-asyncio": "wsproto",
    "h11-uvloop": "websockets",
    "httptools-asyncio": "websockets-sansio",
    "httptools-uvloop": "auto",
}
"""What speaks websockets under uvicorn, by the parser and the loop beside it."""
NAMES = [*WEBSOCKETS, "hypercorn-asyncio", "hypercorn-uvloop", "gthread"]
DAY = 86400.0
FORBIDDEN = frozenset({"DELETE"})
"""Methods that the good peer may not use; nor may it ask for anything below `/admin`."""
_ORDERS = frozenset({"/calls", "/rotate", "/skew"})


class Site:
    """A server: where it is, and how to ask it things as a good peer does."""

    def __init__(self, address: tuple[str, int], client: ssl.SSLContext) -> None:
        self.address = address
        self._client = client
        self._kept = self.connect()

    def connect(self) -> HTTPConnection:
        """A kept-alive connection of the good peer; closed by the server, it stays closed."""
        connection = HTTPConnection("me")
        sock = dial(self.address)
        connection.sock = self._client.wrap_socket(sock, server_hostname="me")
        connection.auto_open = 0
        return connection

    def calls(self) -> list[str]:
        """The paths that have reached the application."""
        return list(json.loads(self.get("/calls")))

    def get(self, path: str) -> bytes:
        """Ask on the connection that is kept."""
        self._kept.request("GET", path)
        return self._kept.getresponse().read()

    def close(self) -> None:
        """Leave."""
        self._kept.close()


class _World:
    """What the application and its server share: credentials, a clock, and what was asked."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = Watch(credentials, ready=True)
        self.skew = 0.0
        self.calls: list[str] = []

    def unix(self) -> float:
        return time.time() + self.skew

    def note(self, path: str) -> None:
        if path not in _ORDERS:
            self.calls.append(path)

    def answer(self, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
        if path == "/calls":
            return json.dumps(self.calls).encode()
        if path == "/rotate":
            now = self.credentials.value
            self.credentials.set(replace(now, bundles={}, generation=now.generation + 1))
        elif path == "/skew":
            self.skew = DAY
        return json.dumps(list(headers)).encode()

    async def asgi(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            return
        self.note(scope["path"])
        while (await receive()).get("more_body"):
            pass
        told = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        body = self.answer(scope["path"], told)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "bytes": body})
            await send({"type": "websocket.close"})
            return
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.note(environ["PATH_INFO"])
        environ["wsgi.input"].read()
        told = [(key[5:], value) for key, value in environ.items() if key.startswith("HTTP_")]
        body = self.answer(environ["PATH_INFO"], told)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def options(self, started: Callable[[Listening], Any], **more: Any) -> ServeOptions:
        return ServeOptions(
            service="me",
            instance="me-1",
            credentials=self.credentials,
            authorize=member_of("example.org"),
            tracer=Passthrough(),
            listener=Quiet(),
            register=lambda *_: _Lease(),
            started=started,
            drain=DrainConfig(lame_duck=0, grace=5),
            unix=self.unix,
            authorization=self._authorization(),
            **more,
        )

    def _authorization(self) -> Authorization:
        refused = (
            Permission(allow=False, path=PathTest(Text(How.PREFIX, "/admin"))),
            Permission(allow=False, path=PathTest(Text(How.PREFIX, "/")), methods=FORBIDDEN),
        )
        rule = Intention("front", "me", permissions=refused)
        known = Watch(IntentionSet("me", (rule,), allow=True), ready=True)
        serving = Watch(ServingConfig(), ready=True)
        return Authorization("me", known, serving, self.credentials, Quiet())


class _Lease:
    def drain(self) -> None: ...

    def close(self) -> None: ...


@contextmanager
def asgi_site(
    arena: Arena, http: str, loop: str, client: ssl.SSLContext, **more: Any
) -> Iterator[Site]:
    """uvicorn with that parser, or hypercorn, in a thread."""
    from meshlib.serve.sockets import listen  # noqa: PLC0415 - only who serves it has uvicorn

    world, ready = _World(arena.credentials()), threading.Event()
    choice = {"server": http} if http == "hypercorn" else {"http": http}
    options = world.options(lambda _: ready.set(), **choice, loop=loop, **more)
    with listen("127.0.0.1", 0, field="port") as listening:
        server = _asgi_server(world, options, listening)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        if not ready.wait(PATIENCE):
            raise TimeoutError("the server did not start")
        site = Site(listening.getsockname(), client)
        yield site
        site.close()
        server.stop()
        thread.join(PATIENCE)


def _asgi_server(world: _World, options: ServeOptions, listening: socket) -> Any:
    from meshlib.serve.asgi import MeshASGI  # noqa: PLC0415
    from meshlib.serve.hypercorn import HypercornServer  # noqa: PLC0415
    from meshlib.serve.uvicorn import AsgiServer  # noqa: PLC0415

    app: Any = world.asgi
    if options.server == "hypercorn":
        return HypercornServer(MeshASGI(app, options), options, listening)
    server = AsgiServer(MeshASGI(app, options), options, listening)
    server.config.ws = WEBSOCKETS[f"{options.http}-{options.loop}"]
    return server


@contextmanager
def gunicorn_site(arena: Arena, folder: Path, client: ssl.SSLContext) -> Iterator[Site]:
    """gunicorn in processes of its own; `folder` is a private one."""
    file = folder / "credentials"
    carry(arena.credentials(), file)
    environ = {**os.environ, "PYTHONPATH": str(Path(meshlib.__file__).parents[1])}
    with subprocess.Popen(  # noqa: S603 - a program of ours
        [sys.executable, "-m", __name__, str(file)],
        stdout=subprocess.PIPE,
        env=environ,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            host, port = json.loads(process.stdout.readline())
            site = Site((host, port), client)
            yield site
            site.close()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def main(credentials: str) -> None:
    """Serve the WSGI application with the credentials in a file, and tell the address."""
    world = _World(carried(Path(credentials)))

    def started(where: Listening) -> None:
        os.write(1, json.dumps([where.host, where.port]).encode() + b"\n")

    serve(world.wsgi, world.options(started, threads=2), kind="wsgi")


if __name__ == "__main__":
    main(sys.argv[1])
