"""
What a mesh serves, and what stands before it: limits, intentions, tokens.

Each server is loaded only by those who run it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from meshlib import follow
from meshlib.config import ServingConfig, SharedRatesConfig
from meshlib.lazy import lazy
from meshlib.model import HTTP, Locality
from meshlib.runtime import new_rng, real_clock
from meshlib.settings import Settings
from meshlib.watch import Watch

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    import grpc.aio
    import httpx

    from meshlib.control.directory import Directory
    from meshlib.control.registry import ControlPlane, IdentitySource, Lease
    from meshlib.listeners import Listeners
    from meshlib.observe.events import Listener, Tracer
    from meshlib.serve.asgi import ASGIApp, MeshASGI
    from meshlib.serve.authorize import Authorization
    from meshlib.serve.grpc.aio_server import MeshAioServer
    from meshlib.serve.grpc.server import MeshGrpcServer
    from meshlib.serve.limits import Gate, Store
    from meshlib.serve.options import AppOptions, Edge, ServeOptions
    from meshlib.serve.plaintext import Plaintext
    from meshlib.serve.tokens import Tokens
    from meshlib.serve.wsgi import MeshWSGI, WSGIApp
    from meshlib.trust.bundle import Credentials


class Hosting(ABC):
    """The serving side of a mesh: `Mesh` says who it is and what it knows."""

    settings: Settings
    _listener: Listener
    _tracer: Tracer

    @property
    @abstractmethod
    def service(self) -> str:
        """The name others call this process by."""

    @property
    @abstractmethod
    def instance(self) -> str:
        """The name of this one process, unique in the mesh."""

    @property
    @abstractmethod
    def control(self) -> ControlPlane:
        """The control plane: registry, documents and identities."""

    @property
    @abstractmethod
    def credentials(self) -> Watch[Credentials]:
        """This service's certificate and trust, renewed in time."""

    @property
    @abstractmethod
    def _issuer(self) -> IdentitySource:
        """Where they come from."""

    @property
    @abstractmethod
    def _directory(self) -> Directory:
        """What is known about services, this one among them."""

    @property
    @abstractmethod
    def _locality(self) -> Locality:
        """Where this process is."""

    @abstractmethod
    def client(self) -> httpx.Client:
        """An `httpx.Client` whose requests to `http://<service>/...` go through the mesh."""

    def asgi(self, app: ASGIApp) -> MeshASGI:
        """`app` as the mesh serves it: peer identity, tracing, access log.

        `request.state.mesh_peer` is the caller's `Identity`.  Without a server of the mesh beneath
        it (see `run`) every request is refused with 421.
        """
        from meshlib.serve.asgi import MeshASGI

        return MeshASGI(app, self._app_options())

    def wsgi(self, app: WSGIApp) -> MeshWSGI:
        """The same for a WSGI application; `environ["mesh.peer"]` is the caller's `Identity`."""
        from meshlib.serve.wsgi import MeshWSGI

        return MeshWSGI(app, self._app_options())

    def run(
        self,
        app: ASGIApp | WSGIApp,
        *,
        host: str | None = None,
        port: int | None = None,
        edge: str | Edge | None = None,
        kind: Literal["asgi", "wsgi"] | None = None,
        **options: Any,
    ) -> None:
        """Serve `app` with mutual TLS until SIGTERM or SIGINT; then drain, and return.

        The instance is registered once it can be served.  `edge` ("127.0.0.1:8080") adds a
        listener without mesh identity, for browsers and load balancers.  `options` are those of
        `meshlib.serve.options.ServeOptions`: workers and threads of a WSGI server, drain, ...
        Raises ConfigError.
        """
        from meshlib.serve import serve

        serve(app, self._serve_options(host=host, port=port, edge=edge, **options), kind=kind)

    def grpc_server(
        self,
        server: grpc.Server | ThreadPoolExecutor | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        edge: str | Edge | None = None,
        **options: Any,
    ) -> MeshGrpcServer:
        """A `grpc.Server` for peers of the mesh: `add_..._to_server(servicer, server)`, then `run`.

        `server` is the pool of a new server, or one that exists: its handlers and interceptors run
        behind the mesh from then on, and it must not have a port yet.  `context.mesh_peer` is the
        caller's `Identity`.  `options` are those of `grpc.server` (interceptors, options, ...)
        and of `meshlib.serve.options.ServeOptions` (drain, ...); `edge` as in `run`.
        Raises ConfigError, MeshError for a grpcio in which a server cannot be guarded.
        """
        from meshlib.adapters.grpc.needed import check_installed

        check_installed()
        from meshlib.serve.grpc.built import OPTIONS
        from meshlib.serve.grpc.server import MeshGrpcServer

        said = {name: options.pop(name) for name in OPTIONS if name in options}
        where = {"host": host, "port": port, "edge": edge, **options}
        return MeshGrpcServer(lambda: self._serve_options("grpc", **where), server, **said)

    def grpc_aio_server(
        self,
        server: grpc.aio.Server | ThreadPoolExecutor | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        edge: str | Edge | None = None,
        **options: Any,
    ) -> MeshAioServer:
        """The same as a `grpc.aio.Server`, for the running event loop.

        A server that exists must have neither handlers nor interceptors yet: they are out of reach
        there.  The pool is for handlers that are no coroutines.
        """
        from meshlib.adapters.grpc.needed import check_installed

        check_installed()
        from meshlib.serve.grpc.aio_server import MeshAioServer
        from meshlib.serve.grpc.built import OPTIONS

        said = {name: options.pop(name) for name in OPTIONS if name in options}
        where = {"host": host, "port": port, "edge": edge, **options}
        return MeshAioServer(lambda: self._serve_options("grpc", **where), server, **said)

    def _serve_options(
        self,
        protocol: str = "",
        *,
        host: str | None = None,
        port: int | None = None,
        edge: str | Edge | None = None,
        **options: Any,
    ) -> ServeOptions:
        """What it takes to serve; the registration says which protocol, if it is not HTTP."""
        from meshlib.serve.options import Edge, ServeOptions
        from meshlib.trust.verify import fellows_of

        if edge is None and not protocol:
            edge = self.settings.edge or None
        return ServeOptions(
            **self._about_us(),
            host=self.settings.host if host is None else host,
            port=self.settings.port if port is None else port,
            edge=Edge.parse(edge) if isinstance(edge, str) else edge,
            authorize=fellows_of(self.credentials),
            oldest_tls=self._issuer.oldest_tls,
            register=partial(self._register, protocol=protocol),
            **options,
        )

    def _register(self, host: str, port: int, *, protocol: str = "") -> Lease:
        from meshlib.control.registry import Registration
        from meshlib.serve.sockets import reachable

        settings = self.settings
        said = {"version": settings.version, "protocol": protocol or HTTP}
        meta = {name: value for name, value in said.items() if value}

        def announced(instance: str) -> Lease:
            return self.control.register(
                Registration(
                    service=self.service,
                    id=instance,
                    host=reachable(host),
                    port=port,
                    weight=settings.weight,
                    locality=self._locality,
                    meta=meta,
                )
            )

        return self._listeners.announce(self.instance, port, announced)

    @lazy
    def _listeners(self) -> Listeners:
        from meshlib.listeners import Listeners

        return Listeners()

    def _app_options(self) -> AppOptions:
        from meshlib.serve.options import AppOptions

        return AppOptions(**self._about_us())

    def _about_us(self) -> dict[str, Any]:
        if self.settings.follow == "on":
            follow.install()
        return {
            "service": self.service,
            "instance": self.instance,
            "version": self.settings.version,
            "credentials": self.credentials,
            "tracer": self._tracer,
            "listener": self._listener,
            "gate": self._gate,
            "authorization": self._authorization,
            "tokens": self._tokens,
            "plaintext": self._plaintext,
        }

    # ---- what stands before it

    @lazy
    def _gate(self) -> Gate:
        from meshlib.serve.limits import Gate

        return Gate(
            self._serving,
            clock=real_clock,
            rng=new_rng(),
            store=self._store,
            instances=self._live,
            service=self.service,
            listener=self._listener,
        )

    @lazy
    def _serving(self) -> Watch[ServingConfig]:
        """What this service lets in: what the program says beats what documents say."""
        if self.settings.serving is not None:
            return Watch(self.settings.serving, ready=True)
        return self._directory.serving(self.service)

    @lazy
    def _authorization(self) -> Authorization:
        from meshlib.planes import observed
        from meshlib.serve.authorize import Authorization

        return Authorization(
            self.service,
            self.control.intentions(self.service),
            self._serving,
            self.credentials,
            self._listener,
            observed(self.settings, lambda: self.instance),
        )

    @lazy
    def _tokens(self) -> Tokens:
        from meshlib.planes import tokens

        return tokens(self._serving, self.client, self._listener.control_event)

    @lazy
    def _plaintext(self) -> Plaintext:
        from meshlib.serve.plaintext import Plaintext

        # a document is seen and changed by operators; what a program says of itself is not asked
        said = self._directory.serving(self.service)
        return Plaintext(self.service, said, self._listener.control_event)

    def _store(self, config: SharedRatesConfig) -> Store:
        from meshlib.adapters.redis_limit import RedisRates

        return RedisRates(self.service, config)

    def _live(self) -> int:
        """How many instances of this service there are, as far as discovery knows."""
        return len(self._directory.upstream(self.service).states())
