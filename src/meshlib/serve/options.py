"""
All that a server must be told.

Everything is handed in: nothing under `serve` reads the environment, makes an identity or knows
which registry it is announced to.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from meshlib.config import Config
from meshlib.errors import ConfigError
from meshlib.observe.events import Listener, Tracer
from meshlib.runtime import Clock, real_clock
from meshlib.serve.authorize import Authorization
from meshlib.serve.limits import Gate
from meshlib.serve.plaintext import Plaintext
from meshlib.serve.tokens import Tokens
from meshlib.trust.bundle import Credentials
from meshlib.trust.verify import Authorizer
from meshlib.watch import Watch


class Lease(Protocol):
    """The part of a registration that a server uses."""

    def drain(self) -> None:
        """Take the instance out of everybody's picker now."""

    def close(self) -> None:
        """Deregister."""


class DrainConfig(Config, frozen=True):
    """How a server leaves: deregister, lame duck, close keep-alive, finish in flight, stop."""

    deregister: float = 2.0
    """Seconds the registry may take to hear of it; the drain goes on without it afterwards."""
    lame_duck: float = 1.0
    """Seconds of ordinary service after that: ten times the 100 ms in which discovery reaches every
    client.  (Istio's terminationDrain is 5 s, for a control plane that answers in seconds.)"""
    grace: float = 30.0
    """Seconds that requests in flight may still take: Kubernetes' termination grace period."""

    def __post_init__(self) -> None:
        self._at_least(0, "lame_duck")
        self._positive("deregister", "grace")


class PeerLimits(Config, frozen=True):
    """What a peer may take of a server before it has shown that it is in earnest."""

    handshake: float = 5.0
    """Seconds to shake hands; a peer of the mesh takes a hundredth."""
    head: float = 10.0
    """Seconds from the first byte of a request to the end of its headers; at the edge, from the
    connection on.  (nginx's client_header_timeout is 60 s, Envoy's default is none.)"""
    head_bytes: int = 65536
    """Request line and headers together; h11's limit.  Envoy's is 60 KiB."""
    silence: float = 30.0
    """Seconds a WSGI thread waits for the next bytes of a body, or for a peer that does not read
    its answer: gunicorn's limit of a worker."""
    newcomers: int = 256
    """Connections that have not shaken hands (at the edge: not sent a request) at any moment."""

    def __post_init__(self) -> None:
        self._positive("handshake", "head", "silence")
        self._at_least(1024, "head_bytes")
        self._at_least(1, "newcomers")


@dataclass(frozen=True, slots=True)
class Edge:
    """A second listener, for those who have no mesh identity: browsers, load balancers.

    Plaintext, or ordinary TLS when a certificate and its key are given.
    """

    host: str
    port: int
    certfile: str = ""
    keyfile: str = ""

    def __post_init__(self) -> None:
        if bool(self.certfile) != bool(self.keyfile):
            missing = "keyfile" if self.certfile else "certfile"
            raise ConfigError(f"edge.{missing}", "", "both a certfile and a keyfile, or neither")

    @classmethod
    def parse(cls, address: str, *, certfile: str = "", keyfile: str = "") -> Edge:
        """Read "127.0.0.1:8080" or "[::1]:8080".  Raises ConfigError."""
        host, colon, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
            raise ConfigError(
                "edge", address, "host:port", hint='for this machine only: "127.0.0.1:8080"'
            )
        return cls(host, int(port), certfile, keyfile)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server can be reached."""

    host: str
    port: int
    edge: tuple[str, int] | None = None


def _tell_nobody(_: Listening) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """What the wrappers around an application need, whichever server runs it."""

    service: str
    instance: str
    credentials: Watch[Credentials]
    tracer: Tracer
    listener: Listener
    version: str = ""
    unix: Clock = time.time
    """Unix time, seconds: certificates are measured on it."""
    clock: Clock = real_clock
    """Monotonic: requests are measured on it."""
    edge_deadline: bool = False
    """Whether a deadline named by a request from the edge is believed."""
    cancel_abandoned: bool = False
    """Whether an ASGI handler is cancelled when its client goes away; see `serve.abandon`."""
    gate: Gate | None = None
    """How much is let in; None: everything."""
    authorization: Authorization | None = None
    """Which callers may do what; None: every peer of the mesh may do everything."""
    tokens: Tokens | None = None
    """Checks tokens of end users; None: they are left to the application."""
    plaintext: Plaintext | None = None
    """Whether who does not speak TLS is served as well; None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions(AppOptions):
    """What it takes to serve an application in the mesh."""

    authorize: Authorizer
    """Whom to shake hands with: every id of the trusted domains; what each may do is decided
    request by request."""
    register: Callable[[str, int], Lease]
    """Announces the instance at this host and port; called once, when it can be served."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one."""
    edge: Edge | None = None
    server: Literal["auto", "uvicorn", "hypercorn"] = "auto"
    """What runs an ASGI application: uvicorn, or hypercorn, which speaks HTTP/2 as well; auto is
    uvicorn.  A WSGI application is run by gunicorn."""
    workers: int = 1
    """Processes, for WSGI."""
    threads: int = 8
    """Threads a process, for WSGI: gunicorn's usual two to four a core, more for waiting."""
    drain: DrainConfig = DrainConfig()
    limits: PeerLimits = PeerLimits()
    oldest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    """The least a peer may speak; with TLS 1.2 it is authenticated encryption (AEAD) only."""
    keep_alive: int = 60
    """Seconds an idle connection is kept: three times the 20 s after which clients drop it, so that
    no request meets a connection that is just being closed."""
    http: Literal["auto", "h11", "httptools"] = "auto"
    """The HTTP parser, for ASGI; auto takes httptools (C) when it is installed."""
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    started: Callable[[Listening], Any] = _tell_nobody
    """Called once the instance is registered."""

    def __post_init__(self) -> None:
        if self.server not in {"auto", "uvicorn", "hypercorn"}:
            raise ConfigError("server", self.server, '"auto", "uvicorn" or "hypercorn"')
        for name, least in ("workers", 1), ("threads", 1), ("keep_alive", 1):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(name, value, f"an integer >= {least}")
        if not 0 <= self.port < 65536:
            raise ConfigError("port", self.port, "an integer 0..65535")
