"""
Servers as grpcio makes them: new ones, and those that the program has made already.

Interceptors can be given to a `grpc.Server` only when it is made.  One that exists gets the mesh's
in the place where grpcio looks for them, which is private; should it move, that is an error and no
server without a guard.  Of a `grpc.aio.Server`, which keeps them in C, only one that has neither
handlers nor interceptors yet is taken: its handlers are guarded one by one as they are added.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import grpc.aio

from meshlib.errors import ConfigError, MeshError
from meshlib.serve.grpc.crew import crew_of
from meshlib.serve.options import ServeOptions

OPTIONS = ("handlers", "interceptors", "options", "maximum_concurrent_rpcs", "compression")
"""What `grpc.server` and `grpc.aio.server` take by name."""

OLDEST_CONNECTION = 3600.0
"""Seconds after which a connection is asked to end (gRFC A9), so that none stays for ever with what
it was let in for; each RPC on it is checked anyway."""


def new_thread_server(
    pool: ThreadPoolExecutor | None, options: ServeOptions, said: dict[str, Any]
) -> grpc.Server:
    """A `grpc.Server`; `said` is of `OPTIONS`, and has what guards it."""
    pool = pool or ThreadPoolExecutor(options.threads, thread_name_prefix="meshlib-grpc")
    crew = cast("ThreadPoolExecutor", crew_of(pool, said, options.clock))
    return grpc.server(crew, **_with(said, options))


def new_loop_server(
    pool: ThreadPoolExecutor | None, options: ServeOptions, said: dict[str, Any]
) -> grpc.aio.Server:
    """The same for the running event loop."""
    return grpc.aio.server(pool, **_with(said, options))


def preceding(first: object, said: dict[str, Any]) -> dict[str, Any]:
    """What is said of a server, with an interceptor before its own."""
    return {**said, "interceptors": (first, *said["interceptors"])}


def _with(said: dict[str, Any], options: ServeOptions) -> dict[str, Any]:
    arguments = {
        "grpc.max_connection_age_ms": int(OLDEST_CONNECTION * 1000),
        "grpc.server_handshake_timeout_ms": int(options.limits.handshake * 1000),
        "grpc.so_reuseport": 0,  # a port in use is an error, not a share of its connections
        **dict(said.get("options") or ()),
    }
    return {**said, "options": tuple(arguments.items())}


def intercept(server: grpc.Server, first: grpc.ServerInterceptor) -> None:
    """Put an interceptor before those of a server.  Raises MeshError."""
    state = getattr(server, "_state", None)
    if not hasattr(state, "interceptor_pipeline"):
        raise _unknown(server)
    from grpc._interceptor import service_pipeline  # noqa: PLC0415 - see the module

    before: Sequence[Any] = getattr(state.interceptor_pipeline, "interceptors", ())  # type: ignore[union-attr]
    state.interceptor_pipeline = service_pipeline((first, *before))  # type: ignore[union-attr]


def must_be_bare(server: grpc.aio.Server) -> None:
    """Raise unless it has neither handlers nor interceptors, as far as can be seen.

    Raises ConfigError if it has some, MeshError if it cannot be seen.
    """
    kept = [each for each in _parts(server) if type(each) in {list, dict, tuple}]
    if {list, dict, tuple} != {type(each) for each in kept}:
        raise _unknown(server)
    if any(kept):
        raise ConfigError(
            "server",
            server,
            "a grpc.aio.Server without handlers and interceptors: they would run unguarded",
            hint="add handlers to what mesh.grpc_aio_server(server) returns; "
            "for interceptors: mesh.grpc_aio_server(interceptors=[...])",
        )


def _parts(server: grpc.aio.Server) -> Iterable[object]:
    # C shows its members to nobody but the garbage collector
    return gc.get_referents(getattr(server, "_server", None))


def _unknown(server: object) -> MeshError:
    return MeshError(
        f"{type(server).__qualname__} cannot be guarded",
        why=f"grpcio {grpc.__version__} keeps interceptors in a place that is not known here",
        hint="let the mesh make the server: mesh.grpc_server(ThreadPoolExecutor(), "
        "interceptors=[...]), mesh.grpc_aio_server(interceptors=[...])",
    )
