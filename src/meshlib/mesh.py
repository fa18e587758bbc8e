"""
`Mesh`: one process's place in the mesh.

Everything is made on first use: making a Mesh opens no file, no socket and no thread.
"""

from __future__ import annotations

# First: OpenTelemetry's hook in a forked child starts a thread pool, and waits for ever if the
# pool's own hooks were registered after it, as hooks run in that order.
import concurrent.futures.thread  # noqa: F401
import os
import socket
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from meshlib.config import ServingConfig, SharedRatesConfig, UpstreamConfig
from meshlib.faces import Faces
from meshlib.gauges import Known, add_gauges
from meshlib.model import Locality
from meshlib.observe.metrics.listener import Metrics
from meshlib.observe.quiet import Everybody
from meshlib.observe.tracing import Tracing
from meshlib.runtime import AsyncRuntime, SyncRuntime, new_rng, real_clock
from meshlib.settings import Settings, load
from meshlib.watch import Watch

if TYPE_CHECKING:
    from types import TracebackType

    from meshlib.adapters.arrival import Arrival
    from meshlib.adapters.stacks import Parts
    from meshlib.adapters.stacks_async import LoopStacks
    from meshlib.adapters.stacks_sync import SyncStacks
    from meshlib.control.consul.address import ConsulAddress
    from meshlib.control.directory import Directory
    from meshlib.control.jwks import Jwks
    from meshlib.control.registry import ControlPlane, IdentitySource, Lease
    from meshlib.observe.events import Listener
    from meshlib.route.match import Segment
    from meshlib.serve.asgi import ASGIApp, MeshASGI
    from meshlib.serve.authorize import Authorization
    from meshlib.serve.limits import Gate, Store
    from meshlib.serve.options import AppOptions, Edge
    from meshlib.serve.tokens import Tokens
    from meshlib.serve.wsgi import MeshWSGI, WSGIApp
    from meshlib.stack.explain import Explanation
    from meshlib.stack.fallback import InCode
    from meshlib.stack.service import CallService
    from meshlib.trust.bundle import Credentials


class Mesh(Faces):
    """Calls other services, and serves this one.

    Settings may be given here, as `MESHLIB_*` variables or in `meshlib.toml` (see
    `meshlib.settings.Settings`).  `control` may also be a client of python-consul2 or py-consul,
    and `token` is Consul's.  `identity` issues the certificates in place of the control plane.
    Raises ConfigError.
    """

    def __init__(  # noqa: PLR0913 - all have defaults
        self,
        service: str | None = None,
        *,
        upstreams: Mapping[str, UpstreamConfig] | None = None,
        listeners: tuple[Listener, ...] = (),
        segments: Mapping[str, Segment] | None = None,
        fallbacks: Mapping[str, InCode] | None = None,
        control: object = None,
        token: str | None = None,
        identity: IdentitySource | None = None,
        **settings: Any,
    ) -> None:
        self._consul = None if isinstance(control, str | None) else _address_of(control)
        self._token, self._identity = token, identity
        given = {"service": service, "upstreams": upstreams, **settings}
        self.settings: Settings = load(
            {**given, "control": control and str(self._consul or control)}
        )
        self.metrics = self._new_metrics()
        """What this process counts; `text()` is the page, which nobody serves by itself."""
        self._listener: Listener = (
            Everybody((self.metrics, *listeners)) if listeners else self.metrics
        )
        self._segments, self._fallbacks = segments or {}, fallbacks or {}
        self._tracer = Tracing()

    # ---- who we are

    @property
    def service(self) -> str:
        """The name others call this process by."""
        return self.settings.service

    @cached_property
    def instance(self) -> str:
        """The name of this one process, unique in the mesh."""
        host = socket.gethostname().partition(".")[0]
        made = f"{self.service}-{host}-{os.getpid()}-{os.urandom(2).hex()}"
        return self.settings.instance or made

    @property
    def _locality(self) -> Locality:
        return Locality(self.settings.region, self.settings.zone)

    @cached_property
    def control(self) -> ControlPlane:
        """The control plane: registry, documents and identities."""
        from meshlib.planes import control_plane

        return control_plane(
            self.settings, self._listener.control_event, consul=self._consul, token=self._token
        )

    @cached_property
    def credentials(self) -> Watch[Credentials]:
        """This service's certificate and trust, renewed in time.  Raises IdentityUnavailable."""
        return self._issuer.credentials(self.service)

    @property
    def _issuer(self) -> IdentitySource:
        return self._identity or self.control

    # ---- calling others

    def explain(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None
    ) -> Explanation:
        """What would be decided about this request, without sending it; print it, or read it.

        Raises ConfigError for a URL without a host.
        """
        from meshlib.adapters.explain import call_of
        from meshlib.stack.client import explainer

        call = call_of(method, url, headers or {})
        return explainer(self._directory.destination(call.service), real_clock)(call)

    # ---- serving

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
        from meshlib.serve.options import Edge, ServeOptions
        from meshlib.trust.verify import fellows_of

        serve(
            app,
            ServeOptions(
                **self._about_us(),
                host=self.settings.host if host is None else host,
                port=self.settings.port if port is None else port,
                edge=Edge.parse(edge) if isinstance(edge, str) else edge,
                authorize=fellows_of(self.credentials),
                oldest_tls=self._issuer.oldest_tls,
                register=self._register,
                **options,
            ),
            kind=kind,
        )

    def _register(self, host: str, port: int) -> Lease:
        from meshlib.control.registry import Registration

        settings = self.settings
        meta = {"version": settings.version} if settings.version else {}
        return self.control.register(
            Registration(
                service=self.service,
                id=self.instance,
                host=host,
                port=port,
                weight=settings.weight,
                locality=self._locality,
                meta=meta,
            )
        )

    def _app_options(self) -> AppOptions:
        from meshlib.serve.options import AppOptions

        return AppOptions(**self._about_us())

    def _about_us(self) -> dict[str, Any]:
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
        }

    # ---- the end

    def close(self) -> None:
        """Close idle connections and leave the control plane.  The mesh is not used afterwards.

        Copies of calls that are still under way get two seconds to end.
        """
        for name in ("_jwks", "_sync_stacks", "_gate", "control"):
            if name in self.__dict__:  # what was never used was never made
                getattr(self, name).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Mesh {self.service!r} control={self.settings.control!r}>"

    # ---- how it is put together

    @cached_property
    def _directory(self) -> Directory:
        from meshlib.control.directory import Directory
        from meshlib.control.routes import Caller

        return Directory(
            self.control,
            clock=real_clock,
            rng=new_rng(),
            overrides=self.settings.upstreams,
            caller=Caller(self.service, self._segments, self._locality),
            fallbacks=self._fallbacks,
            listener=self._listener,
        )

    @cached_property
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

    def _new_metrics(self) -> Metrics:
        metrics, settings = Metrics(), self.settings
        known = Known(settings.service, settings.version, lambda: self.instance, self.__dict__)
        add_gauges(metrics.registry, known)
        return metrics

    @cached_property
    def _serving(self) -> Watch[ServingConfig]:
        """What this service lets in: what the program says beats what documents say."""
        if self.settings.serving is not None:
            return Watch(self.settings.serving, ready=True)
        return self._directory.serving(self.service)

    @cached_property
    def _authorization(self) -> Authorization:
        from meshlib.serve.authorize import Authorization

        return Authorization(
            self.service,
            self.control.intentions(self.service),
            self._serving,
            self.credentials,
            self._listener,
        )

    @cached_property
    def _tokens(self) -> Tokens:
        from meshlib.serve.tokens import Tokens

        return Tokens(self._serving, lambda: self._jwks)

    @cached_property
    def _jwks(self) -> Jwks:
        """The keys of those who issue tokens to end users.  Raises ConfigError."""
        from meshlib.planes import jwks

        return jwks(self.client, self._listener.control_event)

    def _store(self, config: SharedRatesConfig) -> Store:
        from meshlib.adapters.redis_limit import RedisRates

        return RedisRates(self.service, config)

    def _live(self) -> int:
        """How many instances of this service there are, as far as discovery knows."""
        return len(self._directory.upstream(self.service).states())

    @cached_property
    def _arrival(self) -> Arrival:
        from meshlib.adapters.arrival import Arrival

        issuer = self._issuer  # made here, on the thread of the first caller

        def fetch() -> None:  # not by the property: Python 3.11 locks it for all meshes at once
            self.__dict__.setdefault("credentials", issuer.credentials(self.service))

        return Arrival(fetch, lambda: "credentials" in self.__dict__)

    @cached_property
    def _parts(self) -> Parts:
        from meshlib.adapters.stacks import Parts
        from meshlib.adapters.trust import ClientTrust

        trust = ClientTrust(self.credentials, self._issuer)
        return Parts(self._directory.destination, trust, self._tracer, self._listener)

    @cached_property
    def _sync_stacks(self) -> SyncStacks:
        from meshlib.adapters.stacks_sync import SyncStacks

        return SyncStacks(self._parts)

    @cached_property
    def _loop_stacks(self) -> LoopStacks:
        from meshlib.adapters.stacks_async import LoopStacks

        return LoopStacks(self._parts)

    def _services(self, service: str) -> CallService:
        """The synchronous stack to `service`; nothing is made before it is asked for."""
        return self._arrival.then(lambda: self._sync_stacks(service), SyncRuntime)

    def _services_of_loop(self, service: str) -> CallService:
        """The stack to `service` of the running event loop."""
        return self._arrival.then(lambda: self._loop_stacks(service), AsyncRuntime)


def _address_of(client: object) -> ConsulAddress:
    from meshlib.control.consul.address import address_of

    return address_of(client)
