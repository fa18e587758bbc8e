"""The same application twice: as it is, and in the mesh; and clients that reach either."""

from __future__ import annotations

import asyncio
import contextlib
import runpy
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import uvicorn

from meshlib import Mesh
from meshlib.serve.sockets import listen
from meshlib.testing.hosted import hosted

HERE = Path(__file__).parent
Sample = runpy.run_path(str(HERE / "sample.py"))["Sample"]
NOBODY_S = {"date", "server"}
"""The time, and a name that the mesh does not tell."""
OURS = ("x-mesh-", "x-envoy-expected-rq-timeout-ms", "traceparent")
"""What the mesh adds to requests and answers."""


@dataclass
class World:
    """One of the two."""

    name: str
    base: str
    mesh: Mesh | None
    sample: Any = None

    def told(self, text: str) -> str:
        """What an answer says, without the name of this world."""
        return text.replace(self.base, "http://HERE").replace(
            self.base.removeprefix("http://"), "HERE"
        )


@contextlib.contextmanager
def plainly(app):
    """uvicorn as anybody would run it, on a thread; its port."""
    with listen("127.0.0.1", 0, field="port") as sock:
        config = uvicorn.Config(app, log_level="critical", lifespan="off", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


def pairs(raw):
    """Headers as they came, without the date and what the mesh adds."""
    said = ((_text(name), _text(value)) for name, value in raw)
    return [
        (name.lower(), value)
        for name, value in said
        if name.lower() not in NOBODY_S and not name.lower().startswith(OURS)
    ]


def _text(word):
    return word if isinstance(word, str) else word.decode("latin-1")


@dataclass
class Got:
    """An answer, in words that all libraries share."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    url: str
    hops: int


class Httpx:
    """httpx, or httpx2, synchronous."""

    def __init__(self, module):
        self.module = module
        self.errors = (module.HTTPError,)

    def session(self, world):
        if world.mesh is not None:
            return world.mesh.client(module=self.module, follow_redirects=True)
        return self.module.Client(follow_redirects=True, trust_env=False)

    @staticmethod
    def produced(parts):
        return iter(parts)

    def leave(self, world, path, size):
        with self.session(world) as client, client.stream("GET", world.base + path) as got:
            parts = got.iter_raw()
            while size > 0:
                size -= len(next(parts))

    def ask(self, world, *requests_):
        with self.session(world) as client:
            return [self._one(client, world, *each) for each in requests_]

    def _one(self, client, world, method, path, options):
        options = dict(options)
        if "data" in options:
            options["content"] = options.pop("data")
        got = client.request(method, world.base + path, **options)
        return Got(
            got.status_code,
            got.reason_phrase,
            pairs(got.headers.raw),
            got.content,
            str(got.url),
            len(got.history),
        )


class Requests:
    """requests."""

    errors = (requests.RequestException,)

    def session(self, world):
        if world.mesh is not None:
            return world.mesh.requests_session()
        session = requests.Session()
        session.trust_env = False
        return session

    @staticmethod
    def produced(parts):
        return iter(parts)

    def leave(self, world, path, size):
        with (
            self.session(world) as session,
            session.get(world.base + path, stream=True) as got,
        ):
            assert size == len(got.raw.read(size))

    def ask(self, world, *requests_):
        with self.session(world) as session:
            return [self._one(session, world, *each) for each in requests_]

    def _one(self, session, world, method, path, options):
        options = dict(options)
        if isinstance(options.get("headers"), list):
            options["headers"] = dict(options["headers"])
        got = session.request(method, world.base + path, **options)
        return Got(
            got.status_code,
            got.reason,
            pairs(got.raw.headers.iteritems()),
            got.content,
            got.url,
            len(got.history),
        )


class Aiohttp:
    """aiohttp."""

    errors = (aiohttp.ClientError,)

    def session(self, world):
        if world.mesh is not None:
            return world.mesh.aiohttp_session()
        return aiohttp.ClientSession()

    @staticmethod
    async def produced(parts):
        for part in parts:
            yield part

    def leave(self, world, path, size):
        async def main():
            async with (
                self.session(world) as session,
                session.get(world.base + path) as got,
            ):
                await got.content.readexactly(size)

        asyncio.run(main())

    def ask(self, world, *requests_):
        async def main():
            async with self.session(world) as session:
                return [await self._one(session, world, *each) for each in requests_]

        return asyncio.run(main())

    async def _one(self, session, world, method, path, options):
        # a jar does not keep cookies of addresses, unlike those of names: for both, ask for none
        async with session.request(method, world.base + path, **options) as got:
            body = await got.read()
            return Got(
                got.status,
                got.reason,
                pairs(got.raw_headers),
                body,
                str(got.url),
                len(got.history),
            )


class HttpxAsync(Httpx):
    """httpx in an event loop."""

    def session(self, world):
        if world.mesh is not None:
            return world.mesh.async_client(module=self.module, follow_redirects=True)
        return self.module.AsyncClient(follow_redirects=True, trust_env=False)

    @staticmethod
    async def produced(parts):
        for part in parts:
            yield part

    def leave(self, world, path, size):
        async def main():
            async with (
                self.session(world) as client,
                client.stream("GET", world.base + path) as got,
            ):
                left = size
                async for part in got.aiter_raw():
                    left -= len(part)
                    if left < 0:
                        break

        asyncio.run(main())

    def ask(self, world, *requests_):
        async def main():
            async with self.session(world) as client:
                return [await self._one(client, world, *each) for each in requests_]

        return asyncio.run(main())

    async def _one(self, client, world, method, path, options):
        options = dict(options)
        if "data" in options:
            options["content"] = options.pop("data")
        got = await client.request(method, world.base + path, **options)
        return Got(
            got.status_code,
            got.reason_phrase,
            pairs(got.headers.raw),
            got.content,
            str(got.url),
            len(got.history),
        )


LIBRARIES = {
    "httpx": Httpx(httpx),
    "httpx2": Httpx(httpx2),
    "httpx-async": HttpxAsync(httpx),
    "requests": Requests(),
    "aiohttp": Aiohttp(),
}


@pytest.fixture(params=LIBRARIES)
def library(request):
    """Each in turn."""
    return LIBRARIES[request.param]


@pytest.fixture(scope="module")
def world():
    """How a world is made."""
    return World


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The application without the mesh, and with it."""
    plain, meshed = Sample(), Sample()
    home = str(tmp_path_factory.mktemp("home"))
    with (
        Mesh("shop", home=home) as shop,
        Mesh("front", home=home) as front,
        plainly(plain.app) as port,
        hosted(shop, meshed.app),
    ):
        yield (
            World("plain", f"http://localhost:{port}", None, plain),
            World("mesh", "http://shop", front, meshed),
        )


@pytest.fixture
def same(worlds, library):
    """Ask the same in both worlds; the answers, once they are found to be the same."""

    def ask(*requests_):
        answers = []
        for world in worlds:
            made = [
                (method, path, options() if callable(options) else options)
                for method, path, options in requests_
            ]
            got = library.ask(world, *made)
            for each in got:
                each.url = world.told(each.url)
                each.body = world.told(each.body.decode("latin-1")).encode("latin-1")
                each.headers = [(name, world.told(value)) for name, value in each.headers]
            answers.append(got)
        plain, meshed = answers
        assert plain == meshed
        return meshed

    return ask
