"""
The frontend service: a page of cities and the JSON it lives on.  ASGI (Starlette).

    GET /                               the page
    GET /api/cities                     every city of the page, asked for concurrently
    GET /api/cities/Europe/Berlin       one city
    GET /api/search?q=word              the cities that match

It asks `backend` through the mesh with a plain `httpx.AsyncClient`.  A city without an answer is
an answer too: `{"zone": ..., "error": ..., "status": ...}`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshlib import Mesh
from meshlib.demo import tracing
from meshlib.demo.process import About, options, serve

if TYPE_CHECKING:
    from starlette.requests import Request

SERVICE = "frontend"
CITIES = (  # noqa: SIM905 - one a line would fill the screen
    "Europe/London Europe/Berlin Europe/Madrid Europe/Athens Europe/Istanbul"
    " America/New_York America/Los_Angeles America/Mexico_City America/Sao_Paulo America/Santiago"
    " Asia/Tokyo Asia/Shanghai Asia/Kolkata Asia/Kathmandu Asia/Dubai"
    " Asia/Singapore Asia/Jakarta Asia/Manila Asia/Karachi Asia/Tehran"
    " Africa/Cairo Africa/Lagos Africa/Nairobi Africa/Johannesburg Africa/Casablanca"
    " Australia/Sydney Australia/Adelaide Pacific/Auckland Pacific/Honolulu Pacific/Kiritimati"
    " Atlantic/Azores Indian/Maldives America/Nuuk America/St_Johns Antarctica/Troll"
).split()
AT_ONCE = 12
"""Requests of one page in flight together."""
MOST_FOUND = 12
"""Cities one search shows."""
_ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"


class Cities:
    """Asks the backend about cities."""

    def __init__(self, backend: httpx.AsyncClient) -> None:
        self._backend = backend
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def one(self, zone: str) -> dict[str, Any]:
        """What the backend says about `zone`, and the milliseconds it took."""
        async with self._slots:
            begun = time.perf_counter()
            told = await self._get(f"/cities/{zone}")
        return {"zone": zone, **told, "ms": round((time.perf_counter() - begun) * 1000, 2)}

    async def all(self, zones: Iterable[str]) -> list[dict[str, Any]]:
        """The same about many, concurrently, in their order."""
        return list(await asyncio.gather(*map(self.one, zones)))

    async def search(self, word: str) -> dict[str, Any]:
        """The cities that match, each asked about; or the error of the search itself."""
        told = await self._get("/cities", q=word)
        if "error" in told:
            return {"cities": [], "found": 0, **told}
        zones = [city["zone"] for city in told["cities"]]
        return {"cities": await self.all(zones[:MOST_FOUND]), "found": len(zones)}

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        try:
            response = await self._backend.get(f"http://backend{path}", params=query)
        except httpx.TimeoutException as exc:
            return {"error": str(exc) or "no answer in time", "status": 504}
        except httpx.TransportError as exc:
            return {"error": str(exc) or type(exc).__name__, "status": 502}
        return _told(response)


def _told(response: httpx.Response) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = response.json()
    except ValueError:
        return {"error": f"backend answered {response.status_code}", "status": 502}
    if response.is_error:
        answer.setdefault("error", response.reason_phrase)
        answer["status"] = response.status_code
    return answer


def create_app(backend: httpx.AsyncClient, about: About) -> Starlette:
    """The application over a client that reaches `http://backend`."""
    cities = Cities(backend)

    def answer(told: dict[str, Any]) -> Response:
        body = {**told, "frontend": about.said(), "trace_id": tracing.current_trace()}
        return JSONResponse(body, status_code=told.get("status", 200))

    async def everything(_: Request) -> Response:
        return answer({"cities": await cities.all(CITIES)})

    async def one(request: Request) -> Response:
        return answer(await cities.one(request.path_params["zone"]))

    async def search(request: Request) -> Response:
        return answer(await cities.search(request.query_params.get("q", "")))

    return Starlette(
        routes=[
            *(Route(path, _asset(*named)) for path, named in _ASSETS.items()),
            Route("/api/cities", everything),
            Route("/api/cities/{zone:path}", one),
            Route("/api/search", search),
        ]
    )


def _asset(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("meshlib.demo").joinpath("assets", name).read_bytes()
    headers = {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }

    async def asset(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return asset


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, browsers on the edge listener."""
    parser = options(SERVICE)
    parser.add_argument("--edge", default="127.0.0.1:8080", help="address for browsers")
    given = parser.parse_args(arguments)

    def build(mesh: Mesh, about: About) -> Starlette:
        return create_app(mesh.async_client(), about)

    return serve(SERVICE, given, build, edge=given.edge)


if __name__ == "__main__":
    sys.exit(main())
