"""
What an address means to one mesh: the names it was given, and what its control plane knows.

A name is asked for once; then its watches keep the answer, and no call waits for it again.  Only so
many names are followed: all others are looked up in the list of services, now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlib.auto.catalogue import Catalogue, Entry
from meshlib.auto.names import Names
from meshlib.errors import Denied
from meshlib.model import Bound, Neg, Resolution, Snapshot
from meshlib.runtime import AsyncRuntime, Runtime, SyncRuntime, run_sync

if TYPE_CHECKING:
    from meshlib.control.registry import Document
    from meshlib.mesh import Mesh
    from meshlib.stack.service import CallService
    from meshlib.watch import Watch

PATIENCE = 1.0
"""Seconds a call waits for the first answer about a name: a Consul agent nearby takes
milliseconds, and a call to something else altogether should not be held up for longer."""
FOLLOWED = 500
"""Names at most: more than a program has services to call, and what a control plane can bear."""
_NOBODY = Neg()
_COMPILED = "discovery-chain"
"""What Consul has for every name, also for those nobody has written anything about."""


class Meaning:
    """Tells services from foreign addresses.  Used from any thread, and in any event loop."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        settings = mesh.settings
        self._known: dict[str, _Known] = {}
        self._catalogue = Catalogue(self._services)
        self._names = Names.parse(settings.upstream_addresses, egress=settings.egress)

    def service_of(self, scheme: str, host: str, port: int | None) -> str | None:
        """The service that is meant; None: the call is to be made as it is.

        Raises Denied, RegistryUnavailable; waits for a name that was never asked for before.
        """
        known = self._asked(scheme, host, port)
        if known is None:
            return self._names.service_of(scheme, host, port)
        if known.resolution is None:
            run_sync(known.answered(SyncRuntime(), PATIENCE))
        return self._names.service_of(scheme, host, port, known.resolution)

    async def service_of_loop(self, scheme: str, host: str, port: int | None) -> str | None:
        """The same, without blocking the running event loop."""
        known = self._asked(scheme, host, port)
        if known is None:
            return self._names.service_of(scheme, host, port)
        if known.resolution is None:
            await known.answered(AsyncRuntime(), PATIENCE)
        return self._names.service_of(scheme, host, port, known.resolution)

    def must_ask(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether the control plane has a say; it is asked now, and nobody waits for it."""
        return self._asked(scheme, host, port) is not None

    def knows(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether `service_of` has nothing to wait for."""
        known = self._asked(scheme, host, port)
        return known is None or known.resolution is not None

    def refuses(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether the address is foreign, and egress is denied."""
        try:
            self._names.service_of(scheme, host, port, _NOBODY)
        except Denied:
            return True
        return False

    def stack(self, service: str) -> CallService:
        """The synchronous stack to a service."""
        return self.mesh._services(service)  # noqa: SLF001 - faces are made of it, and so are we

    def stack_of_loop(self, service: str) -> CallService:
        """The stack of the running event loop."""
        return self.mesh._services_of_loop(service)  # noqa: SLF001 - as above

    def _services(self) -> tuple[str, ...]:
        return self.mesh.control.services()

    def _asked(self, scheme: str, host: str, port: int | None) -> _Known | Entry | None:
        """What is known of the name that decides; None: no name does."""
        name = self._names.candidate(scheme, host, port)
        if name is None:
            return None
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= FOLLOWED:
                return self._catalogue.entry(name)
            control = self.mesh.control
            new = _Known(name, control.endpoints(name), control.documents(name))
            found = self._known.setdefault(name, new)
        return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What the control plane says of a name, followed."""

    name: str
    endpoints: Watch[Resolution]
    documents: Watch[tuple[Document, ...]]

    @property
    def resolution(self) -> Resolution | None:
        """As discovery has it; a service may also be known by its documents alone.

        None: nobody has answered yet.
        """
        if not self.endpoints.ready or not isinstance(self.endpoints.value, Neg):
            return self.endpoints.value if self.endpoints.ready else None
        if not self.documents.ready:
            return None
        described = any(map(_is_written, self.documents.value))
        return Bound(Snapshot(self.name, ())) if described else self.endpoints.value

    async def answered(self, runtime: Runtime, seconds: float) -> None:
        """Wait for that, but not for longer."""
        until = runtime.clock() + seconds
        for watch in self.endpoints, self.documents:
            if self.resolution is None and not watch.ready:
                await runtime.wait(watch, max(0.0, until - runtime.clock()))


def _is_written(document: Document) -> bool:
    """Whether somebody wrote it, about this service."""
    if document.kind != _COMPILED:
        return document.kind != "proxy-defaults"
    nodes = document.body.get("Nodes") or {}
    start = nodes.get(document.body.get("StartNode")) or {}
    return not (start.get("Resolver") or {}).get("Default")
