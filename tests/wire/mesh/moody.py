"""A service that fails where it is asked to, and shows what it counted."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import meshlib

mesh = meshlib.Mesh(sys.argv[1])


async def answer(request):
    """The status the path names."""
    return PlainTextResponse("", request.path_params["status"])


app = Starlette(
    routes=[Mount("/metrics", app=mesh.metrics.asgi), Route("/{status:int}", answer)],
)


def announce(where):
    """Say that calls can come."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


mesh.run(app, started=announce)
