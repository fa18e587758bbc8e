"""
The database service: the IANA time-zone tables over HTTP.  ASGI (Starlette).

    GET /zones?q=word            zones whose name, city or country contains the word
    GET /zones/Europe/Berlin     one zone
    GET /countries               all countries

SQLite in memory, or PostgreSQL when `DATABASE_URL` says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshlib import Mesh
from meshlib.demo.process import About, options, serve
from meshlib.demo.storage import Store, open_store
from meshlib.demo.zones import load_countries, load_zones

if TYPE_CHECKING:
    from starlette.requests import Request

SERVICE = "database"


def create_app(store: Store, about: About) -> Starlette:
    """The application over a filled store.  Its plain functions run on Starlette's threads."""
    served_by = about.said()

    def zones(request: Request) -> Response:
        found = store.zones(request.query_params.get("q", ""))
        return JSONResponse({"zones": found, "served_by": served_by})

    def zone(request: Request) -> Response:
        name = request.path_params["name"]
        found = store.zone(name)
        if found is None:
            missing = {"error": f"there is no zone {name!r}", "served_by": served_by}
            return JSONResponse(missing, status_code=404)
        return JSONResponse({**found, "served_by": served_by})

    def countries(_: Request) -> Response:
        return JSONResponse({"countries": store.countries(), "served_by": served_by})

    return Starlette(
        routes=[
            Route("/zones", zones),
            Route("/zones/{name:path}", zone),
            Route("/countries", countries),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the tables and serve them until SIGTERM."""
    given = options(SERVICE).parse_args(arguments)

    def build(_: Mesh, about: About) -> Starlette:
        store = open_store(os.environ.get("DATABASE_URL"))
        store.fill(load_zones(), load_countries())
        return create_app(store, about)

    return serve(SERVICE, given, build)


if __name__ == "__main__":
    sys.exit(main())
