"""A service that tells what it knows of the request it serves, and passes the question on."""

from __future__ import annotations

import asyncio
import sys

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshlib
from meshlib.context import current
from meshlib.policy.priority import current_priority
from meshlib.serve.options import DrainConfig

mesh = meshlib.Mesh(sys.argv[1])
http = mesh.async_client(timeout=None)


async def tell(request):
    """What is known here, and what the next service in the path says of itself."""
    rest = request.path_params["rest"]
    if rest == "wait":
        await wait_for_ever()
    known = {
        "deadline": meshlib.deadline(),
        "credit": current().granted,
        "priority": current_priority(),
        "mirrored": meshlib.mirrored(),
    }
    told = [known]
    if rest != "":
        name, _, rest = rest.partition("/")
        answer = await http.get(f"http://{name}/{rest}")
        told += answer.json() if answer.is_success else [{"status": answer.status_code}]
    return JSONResponse(told)


async def wait_for_ever():
    """Until the client goes away; say so, and say when it has."""
    say("waiting")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("cancelled")
        raise


def say(word):
    """To the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


app = Starlette(routes=[Route("/{rest:path}", tell)])
mesh.run(
    app,
    started=lambda where: say(where.port),
    cancel_abandoned=True,
    drain=DrainConfig(lame_duck=0.0),
)
