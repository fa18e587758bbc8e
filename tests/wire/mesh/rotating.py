"""A service that says what its certificate and its trust are, and counts what it was asked."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshlib
from meshlib.serve.options import DrainConfig

mesh = meshlib.Mesh(sys.argv[1])


async def tell(request):
    """How many roots are trusted here, and when the leaf was made."""
    said = await request.body()
    credentials = mesh.credentials.value
    roots = next(iter(credentials.bundles.values())).roots
    return JSONResponse(
        {
            "roots": len(roots),
            "generation": credentials.generation,
            "chain": credentials.leaf.chain_pem.count(b"BEGIN"),
            "said": said.decode(),
        }
    )


def say(where):
    """To the test."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


app = Starlette(routes=[Route("/", tell, methods=["GET", "POST"])])
mesh.run(
    app,
    started=say,
    drain=DrainConfig(lame_duck=0.0),
)
