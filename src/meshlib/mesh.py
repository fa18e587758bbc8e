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
from typing import TYPE_CHECKING, Any, Self

from meshlib.config import UpstreamConfig
from meshlib.faces import Faces
from meshlib.gauges import Known, add_gauges
from meshlib.hosting import Hosting
from meshlib.lazy import lazy
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
    from meshlib.adapters.stacks import Engine, Parts
    from meshlib.adapters.stacks_async import LoopStacks
    from meshlib.adapters.stacks_sync import SyncStacks
    from meshlib.control.consul.address import ConsulAddress
    from meshlib.control.directory import Directory
    from meshlib.control.registry import ControlPlane, IdentitySource
    from meshlib.observe.events import Listener
    from meshlib.planes import OwnedIdentity
    from meshlib.route.match import Segment
    from meshlib.stack.explain import Explanation
    from meshlib.stack.fallback import InCode
    from meshlib.stack.service import CallService
    from meshlib.trust.bundle import Credentials


class Mesh(Faces, Hosting):
    """Calls other services, and serves this one.

    Settings may be given here, as `MESHLIB_*` variables or in `meshlib.toml` (see
    `meshlib.settings.Settings`).  `control` may also be a client of python-consul2 or py-consul,
    and `token` is Consul's.  `identity` issues the certificates in place of the control plane; as
    text it is a setting.
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
        identity: IdentitySource | str | None = None,
        **settings: Any,
    ) -> None:
        self._consul = None if isinstance(control, str | None) else _address_of(control)
        named = identity if isinstance(identity, str) else None
        self._token, self._identity = token, None if isinstance(identity, str) else identity
        given = {"service": service, "upstreams": upstreams, "identity": named, **settings}
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

    @lazy
    def instance(self) -> str:
        """The name of this one process, unique in the mesh."""
        host = socket.gethostname().partition(".")[0]
        made = f"{self.service}-{host}-{os.getpid()}-{os.urandom(2).hex()}"
        return self.settings.instance or made

    @property
    def _locality(self) -> Locality:
        return Locality(self.settings.region, self.settings.zone)

    @lazy
    def control(self) -> ControlPlane:
        """The control plane: registry, documents and identities."""
        from meshlib.planes import control_plane

        return control_plane(
            self.settings, self._listener.control_event, consul=self._consul, token=self._token
        )

    @lazy
    def credentials(self) -> Watch[Credentials]:
        """This service's certificate and trust, renewed in time.  Raises IdentityUnavailable."""
        return self._issuer.credentials(self.service)

    @property
    def _issuer(self) -> IdentitySource:
        return self._identity or (self._elsewhere if self.settings.identity else self.control)

    @lazy
    def _elsewhere(self) -> OwnedIdentity:
        """What the setting `identity` names."""
        from meshlib.planes import issuer

        return issuer(self.settings, self._listener.control_event)

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

    # ---- the end

    def close(self) -> None:
        """Close idle connections and leave the control plane.  The mesh is not used afterwards.

        Its synchronous gRPC channels are closed; what belongs to an event loop is closed there.
        Copies of calls that are still under way get two seconds to end.
        """
        for name in ("_channels", "_tokens", "_elsewhere", "_sync_stacks", "_gate", "control"):
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

    @lazy
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

    def _new_metrics(self) -> Metrics:
        metrics, settings = Metrics(), self.settings
        known = Known(settings.service, settings.version, lambda: self.instance, self.__dict__)
        add_gauges(metrics.registry, known)
        return metrics

    @lazy
    def _arrival(self) -> Arrival:
        from meshlib.adapters.arrival import Arrival

        issuer = self._issuer  # made here, on the thread of the first caller

        def fetch() -> None:  # not by the property: Python 3.11 locks it for all meshes at once
            self.__dict__.setdefault("credentials", issuer.credentials(self.service))

        return Arrival(fetch, lambda: "credentials" in self.__dict__)

    @lazy
    def _parts(self) -> Parts:
        from meshlib.adapters.stacks import Parts
        from meshlib.adapters.trust import ClientTrust

        known = self._directory.spiffe_id
        trust = ClientTrust(self.credentials, self._issuer, said=known)
        h2 = ClientTrust(self.credentials, self._issuer, alpn=("h2",), said=known)
        return Parts(self._directory.destination, trust, h2, self._tracer, self._listener)

    @lazy
    def _sync_stacks(self) -> SyncStacks:
        from meshlib.adapters.stacks_sync import SyncStacks

        return SyncStacks(self._parts)

    @lazy
    def _loop_stacks(self) -> LoopStacks:
        from meshlib.adapters.stacks_async import LoopStacks

        return LoopStacks(self._parts)

    def _services(self, service: str) -> CallService:
        """The synchronous stack to `service`; nothing is made before it is asked for."""
        return self._arrival.then(lambda: self._sync_stacks(service), SyncRuntime)

    def _services_of_loop(self, service: str) -> CallService:
        """The stack to `service` of the running event loop."""
        return self._arrival.then(lambda: self._loop_stacks(service), AsyncRuntime)

    def _services_over(self, service: str, engine: Engine) -> CallService:
        """The synchronous stack to `service` over an engine of its own."""
        return self._arrival.then(
            lambda: self._sync_stacks.over(service, engine(self._parts)), SyncRuntime
        )

    def _services_of_loop_over(self, service: str, engine: Engine) -> CallService:
        """The same of the running event loop."""
        return self._arrival.then(
            lambda: self._loop_stacks.over(service, engine(self._parts)), AsyncRuntime
        )


def _address_of(client: object) -> ConsulAddress:
    from meshlib.control.consul.address import address_of

    return address_of(client)
