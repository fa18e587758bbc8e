"""The public names as a user's type checker sees them; checked by `mypy --strict`, never run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import assert_type

import grpc
import httpx
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshlib import (
    AttemptFailed,
    BackoffConfig,
    BudgetConfig,
    CallError,
    ConfigError,
    DeadlineExceeded,
    Endpoint,
    Identity,
    Listener,
    Mesh,
    MeshError,
    Metrics,
    Quiet,
    Rejected,
    RetryConfig,
    UpstreamConfig,
)

PATIENT = UpstreamConfig(
    timeout=30.0,
    balancer="round_robin",
    retry=RetryConfig(attempts=2, backoff=BackoffConfig(base=0.1), budget=BudgetConfig(share=0.1)),
)


def a_mesh() -> Mesh:
    """Made by name, by settings, or by nothing but the environment."""
    Mesh()
    Mesh("frontend", version="v2", home="state")
    return Mesh("frontend", upstreams={"backend": PATIENT})


def a_sync_client(mesh: Mesh) -> int:
    """Clients are httpx's own, so everything httpx returns keeps its type."""
    with mesh.client(timeout=5.0) as http:
        assert_type(http, httpx.Client)
        return assert_type(http.get("http://backend/items").status_code, int)


async def an_async_client(mesh: Mesh) -> bytes:
    """The same with a loop."""
    async with mesh.async_client() as http:
        assert_type(http, httpx.AsyncClient)
        return assert_type((await http.get("http://backend/items")).content, bytes)


async def who(request: Request) -> Response:
    """The application sees who calls it."""
    peer: Identity = request.state.mesh_peer
    return JSONResponse({"id": assert_type(peer.spiffe_id, str), "service": peer.service})


def serving(mesh: Mesh) -> None:
    """Applications of frameworks are accepted as they are."""
    starlette = Starlette(routes=[Route("/", who)])
    flask = Flask("backend")
    mesh.asgi(starlette)
    mesh.wsgi(flask)
    made: grpc.Server = mesh.grpc_server(ThreadPoolExecutor(4), port=50051)
    mesh.grpc_server(grpc.server(ThreadPoolExecutor(4)), edge="127.0.0.1:8080").run()
    made.start()
    mesh.run(starlette, edge="127.0.0.1:8080")
    mesh.run(flask, port=0)


def what_went_wrong(error: MeshError) -> str:
    """The fields of the error tree."""
    if isinstance(error, ConfigError):
        as_value_error: ValueError = error
        return f"{error.path} {error.value!r} {as_value_error}"
    if isinstance(error, Rejected):
        return assert_type(error.by, str)
    if isinstance(error, DeadlineExceeded):
        return f"{assert_type(error.elapsed, float):.1f} s"
    if isinstance(error, AttemptFailed):
        assert_type(error.endpoint, Endpoint | None)
        return "maybe seen" if assert_type(error.sent, bool) else "never sent"
    if isinstance(error, CallError):
        return (
            f"{error.method} {error.service}{error.path} after {assert_type(error.attempts, int)}"
        )
    return f"{error.what} {error.why} {error.hint}"


class Ear(Quiet):
    """A listener of one's own."""

    def control_event(self, kind: str, subject: str, text: str) -> None:
        """Print it."""
        print(kind, subject, text)  # noqa: T201 - as a program would


def listening(mesh: Mesh) -> None:
    """What inherits from `Quiet` is a listener, and so are the metrics."""
    ear: Listener = Ear()
    Mesh("frontend", listeners=(ear, Metrics(cap=10)))
    assert_type(mesh.metrics.text(openmetrics=True), str)
    mesh.metrics.gauge("jobs", "Jobs that wait.", ("queue",), lambda: [(("mail",), 1)])


def a_block(mesh: Mesh) -> None:
    """A mesh closes itself at the end of a block."""
    with mesh as same:
        assert_type(same, Mesh)
