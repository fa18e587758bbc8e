"""
`Mesh`: one process's place in the mesh.

Everything is made on first use: making a Mesh opens no file, no socket and no thread.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from meshlib.config import ServingConfig, SharedRatesConfig, UpstreamConfig
from meshlib.gauges import Known, add_gauges
from meshlib.model import Locality
from meshlib.observe.metrics.listener import Metrics
from meshlib.observe.quiet import Everybody
from meshlib.observe.tracing import Tracing
from meshlib.runtime import new_rng, real_clock
from meshlib.settings import Settings, load
from meshlib.watch import Watch

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    import httpx

    from meshlib.adapters.httpx import Face
    from meshlib.adapters.stacks import Parts
    from meshlib.adapters.stacks_async import LoopStacks
    from meshlib.adapters.stacks_sync import SyncStacks
    from meshlib.control.directory import Directory
    from meshlib.control.registry import ControlPlane, Lease
    from meshlib.observe.events import Listener
    from meshlib.route.match import Segment
    from meshlib.serve.asgi import ASGIApp, MeshASGI
    from meshlib.serve.authorize import Authorization
    from meshlib.serve.limits import Gate, Store
    from meshlib.serve.options import AppOptions, Edge
    from meshlib.serve.wsgi import MeshWSGI, WSGIApp
    from meshlib.stack.explain import Explanation
    from meshlib.stack.fallback import InCode
    from meshlib.stack.service import CallService
    from meshlib.trust.bundle import Credentials


class Mesh:
    """Calls other services, and serves this one.

    Settings may be given here, as `MESHLIB_*` variables or in `meshlib.toml` (see
    `meshlib.settings.Settings`).  Raises ConfigError.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        upstreams: Mapping[str, UpstreamConfig] | None = None,
        listeners: tuple[Listener, ...] = (),
        segments: Mapping[str, Segment] | None = None,
        fallbacks: Mapping[str, InCode] | None = None,
        **settings: Any,
    ) -> None:
        given = {"service": service, "upstreams": upstreams, **settings}
        self.settings: Settings = load(given)
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
        from meshlib.control.local.plane import LocalControl

        home = self.settings.home
        return LocalControl(
            Path(home) if home else None,
            trust_domain=self.settings.trust_domain,
            default_intentions=self.settings.default_intentions or "allow",
        )

    @cached_property
    def credentials(self) -> Watch[Credentials]:
        """This service's certificate and trust, renewed in time.  Raises IdentityUnavailable."""
        return self.control.credentials(self.service)

    # ---- calling others

    def client(self, *, module: ModuleType | None = None, **options: Any) -> httpx.Client:
        """An `httpx.Client` whose requests to `http://<service>/...` go through the mesh.

        `options` are httpx's own; `module=httpx2` makes an `httpx2.Client` instead.
        """
        module = module or _httpx()
        transport = self._face(module).transport(self._services)
        client: httpx.Client = module.Client(transport=transport, trust_env=False, **options)
        return client

    def async_client(
        self, *, module: ModuleType | None = None, **options: Any
    ) -> httpx.AsyncClient:
        """The same as an `httpx.AsyncClient`.  It may be used in several event loops."""
        module = module or _httpx()
        transport = self._face(module).async_transport(self._services_of_loop)
        client: httpx.AsyncClient = module.AsyncClient(
            transport=transport, trust_env=False, **options
        )
        return client

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
        from meshlib.trust.verify import member_of

        serve(
            app,
            ServeOptions(
                **self._about_us(),
                host=self.settings.host if host is None else host,
                port=self.settings.port if port is None else port,
                edge=Edge.parse(edge) if isinstance(edge, str) else edge,
                authorize=member_of(self.settings.trust_domain),
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
        }

    # ---- the end

    def close(self) -> None:
        """Close idle connections and leave the control plane.  The mesh is not used afterwards.

        Copies of calls that are still under way get two seconds to end.
        """
        for name in ("_sync_stacks", "_gate", "control"):
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

    def _store(self, config: SharedRatesConfig) -> Store:
        from meshlib.adapters.redis_limit import RedisRates

        return RedisRates(self.service, config)

    def _live(self) -> int:
        """How many instances of this service there are, as far as discovery knows."""
        return len(self._directory.upstream(self.service).states())

    @cached_property
    def _parts(self) -> Parts:
        from meshlib.adapters.stacks import Parts
        from meshlib.adapters.trust import ClientTrust

        trust = ClientTrust(self.credentials, self.control.spiffe_id)
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
        return self._sync_stacks(service)

    def _services_of_loop(self, service: str) -> CallService:
        """The stack to `service` of the running event loop."""
        return self._loop_stacks(service)

    @staticmethod
    def _face(module: ModuleType) -> Face:
        from meshlib.adapters.httpx import face

        return face(module)


def _httpx() -> ModuleType:
    import httpx

    return httpx
