"""
The backend service: what time is it in this city?  WSGI (Flask).

    GET /cities?q=word             cities by name or country
    GET /cities/Europe/Berlin      time, offset, daylight saving; from v2 on, the sun as well

It asks `database` through the mesh with a plain `httpx.Client`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import flask
import httpx
from werkzeug.exceptions import HTTPException

from meshlib import Mesh
from meshlib.demo.city import city, found
from meshlib.demo.faults import FAULTY, NO_FAULTS, Faults
from meshlib.demo.process import About, options, serve
from meshlib.runtime import Rng, new_rng

SERVICE = "backend"
SUN_VERSIONS = frozenset({"v2"})


def create_app(
    database: httpx.Client,
    about: About,
    *,
    faults: Faults = NO_FAULTS,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    rng: Rng | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> flask.Flask:
    """The application over a client that reaches `http://database`."""
    app = flask.Flask(SERVICE)
    chance = rng or new_rng()

    @app.before_request
    def misbehave() -> None:
        sleep(faults.stall(chance))
        status = faults.status(chance)
        if status is not None:
            flask.abort(status, description="this backend was started with --faulty")

    @app.get("/cities")
    def cities() -> dict[str, Any]:
        zones, seen = _ask(database, "/zones", q=flask.request.args.get("q", ""))
        return {"cities": [found(zone) for zone in zones["zones"]], **_footer(about, seen)}

    @app.get("/cities/<path:name>")
    def one(name: str) -> dict[str, Any]:
        zone, seen = _ask(database, f"/zones/{name}")
        told = city(zone, now(), sun=about.version in SUN_VERSIONS)
        return {**told, **_footer(about, seen)}

    @app.errorhandler(HTTPException)
    def explain(exc: HTTPException) -> tuple[dict[str, Any], int]:
        return {"error": exc.description, "served_by": about.said()}, exc.code or 500

    return app


def _footer(about: About, seen: dict[str, Any]) -> dict[str, Any]:
    return {"served_by": about.said(), "database": seen}


def _ask(database: httpx.Client, path: str, **query: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The database's answer, and who gave it in how many milliseconds; else an HTTP error."""
    begun = time.perf_counter()
    try:
        response = database.get(f"http://database{path}", params=query)
    except httpx.TimeoutException as exc:
        flask.abort(504, description=f"the database did not answer in time: {exc}")
    except httpx.TransportError as exc:
        flask.abort(502, description=f"the database cannot be reached: {exc}")
    if response.status_code == httpx.codes.NOT_FOUND:
        flask.abort(404, description=response.json()["error"])
    if response.is_error:
        flask.abort(502, description=f"the database answered {response.status_code}")
    answer: dict[str, Any] = response.json()
    seen = {**answer.pop("served_by"), "ms": round((time.perf_counter() - begun) * 1000, 2)}
    return answer, seen


def faults_given(given: argparse.Namespace) -> Faults:
    """What the options ask for; a rate that is given counts even without `--faulty`."""
    base = FAULTY if given.faulty else NO_FAULTS
    fields = {name: getattr(given, name) for name in ("fail_rate", "stall_rate", "stall_seconds")}
    return Faults(**{n: getattr(base, n) if v is None else v for n, v in fields.items()})


def parser() -> argparse.ArgumentParser:
    """The options of this program."""
    parser = options(SERVICE)
    parser.add_argument("--faulty", action="store_true", help="fail and stall on purpose")
    parser.add_argument("--fail-rate", type=float, help="share of requests that fail, 0..1")
    parser.add_argument("--stall-rate", type=float, help="share of requests that stall, 0..1")
    parser.add_argument("--stall-seconds", type=float, help="how long a stall lasts")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    given = parser().parse_args(arguments)

    def build(mesh: Mesh, about: About) -> flask.Flask:
        return create_app(mesh.client(), about, faults=faults_given(given))

    return serve(SERVICE, given, build)


if __name__ == "__main__":
    sys.exit(main())
