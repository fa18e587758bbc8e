"""A small service on Consul: it says who it is.  `shopkeeper.py SERVICE INSTANCE CONTROL`."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshlib
from meshlib.serve.options import DrainConfig

service, instance, control = sys.argv[1:4]
mesh = meshlib.Mesh(service, instance=instance, control=control, version=instance[:2])


async def tell(request):
    """Who answers, and who asked."""
    return JSONResponse({"instance": instance, "peer": request.state.mesh_peer.service})


def say(where):
    """To the test."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


mesh.run(
    Starlette(routes=[Route("/{rest:path}", tell)]),
    started=say,
    drain=DrainConfig(lame_duck=0.0),
)
