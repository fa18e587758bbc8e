"""Deadline, trace, baggage, priority and credit reach the next service, whichever way it is called.

Between them stand a service that does the calling, and one that tells what it was told.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshlib
from meshlib import Mesh
from meshlib.context import current
from meshlib.policy.priority import current_priority, priority
from meshlib.testing.hosted import hosted

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAID = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "baggage": "user=42,tier=gold"}


async def tell(request):
    """What is known of this request here."""
    headers = request.headers
    known = {
        "deadline": meshlib.deadline(),
        "credit": current().granted,
        "priority": current_priority(),
        "trace": headers.get("traceparent", "").partition("-")[2][:32],
        "baggage": headers.get("baggage"),
    }
    return JSONResponse(known)


class Caller:
    """Ways to call the next service."""

    def __init__(self, mesh):
        self.sync, self.loop = mesh.client(timeout=None), mesh.async_client(timeout=None)
        self.pool = ThreadPoolExecutor(2)
        self.mesh = mesh

    def ask(self, *_):
        return self.sync.get("http://told/").json()

    async def ask_in_loop(self):
        return (await self.loop.get("http://told/")).json()

    async def by_task(self):
        return await asyncio.create_task(self.ask_in_loop())

    async def by_to_thread(self):
        return await asyncio.to_thread(self.ask)

    async def by_run_in_executor(self):
        return await asyncio.get_running_loop().run_in_executor(None, self.ask)

    async def by_submit(self):
        return await asyncio.wrap_future(self.pool.submit(self.ask))

    async def by_map(self):
        return await asyncio.to_thread(lambda: next(iter(self.pool.map(self.ask, [0]))))

    async def by_thread(self):
        found = []
        thread = threading.Thread(target=lambda: found.append(self.ask()))
        thread.start()
        await asyncio.to_thread(thread.join)
        return found[0]

    async def by_thread_in_thread(self):
        found = []

        def outer():
            inner = threading.Thread(target=lambda: found.append(self.ask()))
            inner.start()
            inner.join()

        await asyncio.to_thread(outer)
        return found[0]

    async def by_aiohttp(self):
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            self.mesh.aiohttp_session(timeout=timeout) as session,
            session.get("http://told/") as answer,
        ):
            return await answer.json()

    def by_handler_on_a_thread(self):
        return self.ask()

    async def serve(self, request):
        return JSONResponse(await getattr(self, f"by_{request.path_params['way']}")())

    def app(self):
        return Starlette(
            routes=[
                Route("/handler_on_a_thread", lambda _: JSONResponse(self.ask())),
                Route("/{way}", self.serve),
            ]
        )

    def close(self):
        self.pool.shutdown()
        self.sync.close()


WAYS = [name.removeprefix("by_") for name in vars(Caller) if name.startswith("by_")]


@pytest.fixture
def services(home):
    """Two services, and somebody who calls the first."""
    with (
        Mesh("told") as told,
        Mesh("first") as first,
        Mesh("front") as front,
        hosted(told, Starlette(routes=[Route("/", tell)])),
    ):
        caller = Caller(first)
        with hosted(first, caller.app()):
            yield front
        caller.close()


def check(known):
    """All five."""
    assert 0 < known["deadline"] <= 30
    assert known["credit"] > 0
    assert 6 == known["priority"]
    assert TRACE == known["trace"]
    assert SAID["baggage"] == known["baggage"]


def test_all_five_follow(services):
    """Whichever way the handler takes to the next service."""
    with services.client(timeout=30.0) as http, priority(6):
        for way in WAYS:
            check(http.get(f"http://first/{way}", headers=SAID).raise_for_status().json())


def test_nothing_is_left_over(services):
    """The next request, on the same threads, says nothing and so has nothing of the last one."""
    with services.client(timeout=None) as http:
        for way in WAYS:
            with priority(6):
                http.get(f"http://first/{way}", headers=SAID).raise_for_status()
            known = http.get(f"http://first/{way}").raise_for_status().json()
            assert (3, "", None) == (known["priority"], known["trace"], known["baggage"])
            assert known["deadline"] is None


@pytest.fixture
def wsgi(services, home):
    """A WSGI service, in a process of its own as gunicorn wants it."""
    command = [sys.executable, Path(__file__).with_name("follower.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield services
        process.terminate()


def test_all_five_follow_a_wsgi_handler(wsgi):
    """Its threads and executors too."""
    with wsgi.client(timeout=30.0) as http, priority(6):
        for way in ("handler", "thread", "submit", "map"):
            check(http.get(f"http://wsgi/{way}", headers=SAID).raise_for_status().json())
