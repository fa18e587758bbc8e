"""What the servers of programs that know nothing of the mesh have in common."""

from __future__ import annotations

import logging
import os
import socket
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn

from meshlib.auto import process
from meshlib.auto.versions import within
from meshlib.errors import ConfigError, MeshError
from meshlib.serve.sockets import BACKLOG, listen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshlib.serve.asgi import ASGIApp
    from meshlib.serve.options import ServeOptions
    from meshlib.serve.stages import Stages

log = logging.getLogger("meshlib.auto")

STARTUP_FAILED = 3
"""uvicorn's exit status; its supervisor does not start such a worker again."""
_DEPTH = 8
"""Middleware between a server and an application that somebody has wrapped already."""
KEEP_ALIVE = 60
"""Seconds, in place of a default that is shorter than what clients keep their connections for
(`ServeOptions.keep_alive`)."""


def fits(server: str, supported: str) -> bool:
    """Whether the version that is installed can be wrapped; if not, that is said in the log."""
    try:
        version = metadata.version(server)
    except metadata.PackageNotFoundError:  # a copy that nobody has installed
        version = "without a version"
    if within(version, supported):
        return True
    log.error(
        "%s %s cannot be wrapped, and does not serve in the mesh: %s%s is needed",
        server,
        version,
        server,
        supported,
    )
    return False


def options_of(host: str, port: int, **more: Any) -> ServeOptions:
    """What it takes to serve in this process' mesh.  It waits for the certificate.

    Raises ConfigError, IdentityUnavailable.
    """
    return process.current()._serve_options(host=host, port=port, **more)  # noqa: SLF001 - ours


def asgi_of(app: ASGIApp, options: ServeOptions) -> tuple[ASGIApp, Stages]:
    """`app` as the mesh serves it, and where it is told that its server leaves; once is enough."""
    from meshlib.serve.asgi import MeshASGI  # programs that only import a server do not wait

    inner: Any = app
    for _ in range(_DEPTH):
        if isinstance(inner, MeshASGI):
            log.info("the program has wrapped its application itself")
            return app, inner.stages
        inner = getattr(inner, "app", None)
    wrapped = MeshASGI(app, options)
    return wrapped, wrapped.stages


def listening(sock: socket.socket, backlog: int = BACKLOG) -> socket.socket:
    """A bound socket, listening.  Raises ConfigError for what is no TCP socket."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        where = sock.getsockname()
        sock.close()
        raise ConfigError(
            "bind",
            where,
            "a TCP address",
            hint="instances of a mesh find each other by host and port: give the server those",
        )
    sock.listen(backlog)
    return sock


def inherited(number: int) -> socket.socket:
    """The socket of a file descriptor, which stays open.  Raises ConfigError."""
    try:
        return socket.socket(fileno=os.dup(number))
    except OSError as exc:
        raise ConfigError("fd", number, f"the descriptor of a socket ({exc})") from exc


def edge_listening(options: ServeOptions) -> socket.socket | None:
    """The listener of the edge, if there is to be one.  The workers of a server share it."""
    edge = options.edge
    return listen(edge.host, edge.port, field="edge", shared=True) if edge else None


def dropped(server: str, what: Iterable[str]) -> None:
    """Say which settings of a server the mesh takes the place of."""
    for each in what:
        log.warning("%s: %s is not used: the mesh's mutual TLS takes its place", server, each)


def give_up(error: MeshError) -> NoReturn:
    """A process that cannot serve as the mesh wants it says why, and does not serve at all."""
    log.critical("%s", error)
    sys.exit(STARTUP_FAILED)
