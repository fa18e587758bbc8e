"""A service that tells what it knows of the request it serves, and passes the question on."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshlib
from meshlib.context import current

mesh = meshlib.Mesh(sys.argv[1])
http = mesh.async_client(timeout=None)


async def tell(request):
    """The deadline and credit here, and what the next service in the path says of its own."""
    known = {"deadline": meshlib.deadline(), "credit": current().granted}
    told = [known]
    if (rest := request.path_params["rest"]) != "":
        name, _, rest = rest.partition("/")
        told += (await http.get(f"http://{name}/{rest}")).json()
    return JSONResponse(told)


app = Starlette(routes=[Route("/{rest:path}", tell)])


def announce(where):
    """Say that calls can come."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


mesh.run(app, started=announce)
