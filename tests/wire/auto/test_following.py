"""An unmodified program's calls belong to the request they are made for, whoever makes them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshlib
from meshlib import Mesh, UpstreamConfig
from meshlib.testing.appear import appear
from meshlib.testing.hosted import hosted
from meshlib.testing.launch import launched

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
TRACE = "0af7651916cd43dd8448eb211c80319c"
SAID = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "baggage": "user=42"}


PATIENCE = 10
"""Seconds the caller gives; the program, which asks the others, would give them more."""


async def tell(request):
    """What is known of this request here."""
    said = {name: request.headers.get(name, "") for name in SAID}
    return JSONResponse({**said, "deadline": meshlib.deadline()})


@pytest.fixture
def caller(home):
    """Somebody who asks, and two services that tell what they were told."""
    with ExitStack() as stack:
        for name in "one", "two":
            app = Starlette(routes=[Route("/", tell)])
            stack.enter_context(hosted(stack.enter_context(Mesh(name)), app))
        patience = {"front": UpstreamConfig(timeout=PATIENCE)}
        yield stack.enter_context(Mesh("caller", upstreams=patience))


def check(told, way) -> None:
    """Both belong to our trace and our time, of which there is less than there was before."""
    assert 2 == len(told["there"]), way
    for there in told["there"]:
        assert TRACE == there["traceparent"].split("-")[1], way
        assert SAID["baggage"] == there["baggage"], way
        assert 0 < there["deadline"] < PATIENCE, way


FLASK = ("pool", "new-pool", "threads")
STARLETTE = ("tasks", "gather", "to-thread", "executor", "threadpool", "thread")
PROGRAM = {
    "flask": (FLASK, "flask", "--app", "fan_out", "run", "--port", "0"),
    "gunicorn": (
        *(FLASK, "gunicorn", "fan_out:app", "--no-control-socket", "--bind", "127.0.0.1:0"),
        *("--threads", "2"),
    ),
    "uvicorn": (STARLETTE, "uvicorn", "fan_out_asgi:app", "--port", "0"),
}


@pytest.mark.parametrize(
    ("ways", "server", "arguments"),
    [(ways, server, arguments) for ways, server, *arguments in PROGRAM.values()],
    ids=PROGRAM,
)
def test_calls_belong_to_the_request(caller, ways, server, arguments) -> None:
    """Deadline, trace and baggage are there in a handler's threads, executors and tasks."""
    with launched("front", str(BIN / server), *arguments, cwd=PROGRAMS):
        appear(caller, "front")
        with caller.client() as client:
            for way in (*ways, *ways):  # threads of pools have served another request before
                check(client.get(f"http://front/{way}", headers=SAID).json(), way)
