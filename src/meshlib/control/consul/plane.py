"""
`ConsulControl`: Consul as the control plane, all five protocols over one agent.

Nothing is opened before it is used.  What is heard arrives on daemon threads; what goes wrong there
is an event, and what was good stays.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from meshlib.control.authorization import Default
from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.breaker import CLOSED, OPEN
from meshlib.control.consul.discovery import ConsulDiscovery
from meshlib.control.consul.documents import ConsulDocuments
from meshlib.control.consul.http import ConsulClient
from meshlib.control.consul.identity import ConsulIdentity
from meshlib.control.consul.intentions import ConsulIntentions
from meshlib.control.consul.memory import Memory
from meshlib.control.consul.registrar import ConsulLease, ConsulRegistrar
from meshlib.control.consul.snapshot import SnapshotFile
from meshlib.control.registry import Document, Registration
from meshlib.model import Resolution
from meshlib.trust.bundle import Credentials
from meshlib.trust.intention import IntentionSet
from meshlib.watch import Watch

log = logging.getLogger("meshlib.control")

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


def unheard(kind: str, subject: str, text: str) -> None:
    """Nobody listens."""
    del kind, subject, text


class ConsulControl:
    """The control plane of everybody who shares a Consul.

    `home` None keeps no snapshot on disk; `name` tells the snapshots of one folder apart.
    """

    def __init__(
        self,
        address: ConsulAddress,
        *,
        home: Path | None = None,
        name: str = "mesh",
        default_intentions: Default | None = None,
        event: Event = unheard,
    ) -> None:
        self.address, self._listener = address, event
        client = self._client = ConsulClient(address, moved=self._moved)
        file = SnapshotFile(home / "consul", name) if home is not None else None
        memory = self._memory = Memory(_cluster(address), file, event=self._event, age=self.age)
        self._discovery = ConsulDiscovery(client, event=self._event)
        self._documents = ConsulDocuments(client, event=self._event)
        self._identity = ConsulIdentity(client, event=self._event)
        self._registrar = ConsulRegistrar(client, event=self._event)
        self._intentions = ConsulIntentions(
            client, default=default_intentions, event=self._event, keep=memory.heard_intentions
        )

    def register(self, registration: Registration) -> ConsulLease:
        """Announce an instance and keep its heartbeat.  Raises RegistryUnavailable, ConfigError."""
        return self._registrar.register(registration)

    def endpoints(self, service: str, datacenter: str = "") -> Watch[Resolution]:
        """The endpoints of a service, followed until `close`; the same watch for the same name."""
        name = f"{service}@{datacenter}" if datacenter else service
        return self._memory.endpoints(name, self._discovery.endpoints(service, datacenter))

    def age(self, service: str) -> float | None:
        """Seconds since Consul last confirmed what is known of a service; None: not yet.

        One of another datacentre is called `service@datacenter`.
        """
        name, _, datacenter = service.partition("@")
        return self._discovery.age(name, datacenter)

    def services(self) -> tuple[str, ...]:
        """The names known now, sorted.  Raises RegistryUnavailable."""
        return self._discovery.services()

    def documents(self, service: str) -> Watch[tuple[Document, ...]]:
        """What Consul has compiled for a service, and its traffic policy."""
        return self._memory.documents(service, self._documents.documents(service))

    def get(self, kind: str, name: str) -> Document | None:
        """One document.  Raises RegistryUnavailable."""
        return self._documents.get(kind, name)

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Write a document; with `cas` only if its version is still the stored one.

        Returns whether Consul now holds it.  Raises ConfigError, RegistryUnavailable.
        """
        return self._documents.put(document, cas=cas)

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; returns whether there was one.  Raises RegistryUnavailable."""
        return self._documents.delete(kind, name)

    def intentions(self, service: str) -> Watch[IntentionSet]:
        """Who may call a service; until Consul has answered, or the snapshot, nobody."""
        source = self._intentions.intentions(service)
        return self._memory.intentions(service, source, partial(self._intentions.recall, service))

    @property
    def oldest_tls(self) -> ssl.TLSVersion:
        """The least that its peers may be expected to speak."""
        return self._identity.oldest_tls

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """The SPIFFE id that instances of `service` prove.  Raises IdentityUnavailable."""
        return self._identity.spiffe_id(service, datacenter)

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """What clients ask a server for, as Consul's proxies do.  Raises IdentityUnavailable."""
        return self._identity.server_name(service, subset, datacenter)

    def credentials(self, service: str) -> Watch[Credentials]:
        """The leaf and roots to speak as `service`.  Raises IdentityUnavailable."""
        return self._identity.credentials(service)

    @property
    def connections(self) -> int:
        """How many there are to the agent now, idle ones included."""
        return self._client.connections

    def close(self) -> None:
        """Close the leases, stop all threads and let go of the agent."""
        self._memory.close()  # first: it would see our own instances vanish
        self._registrar.close()
        for each in (self._discovery, self._documents, self._intentions, self._identity):
            each.close()
        self._client.close()

    def _event(self, kind: str, subject: str, text: str) -> None:
        """Say it in the log and to whoever listens."""
        log.warning("%s %s: %s", kind, subject, text)
        self._listener(kind, subject, text)

    def _moved(self, before: str, now: str) -> None:
        """The breaker before the agent: it is hardly asked any more, or it is back."""
        if (before, now) == (CLOSED, OPEN):
            text = "it is asked once a second, and what was known before is used"
            self._event("agent-lost", str(self.address), text)
        elif now == CLOSED:
            self._event("agent-back", str(self.address), "it answers again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ConsulControl {self.address}>"


def _cluster(address: ConsulAddress) -> str:
    """Whose knowledge it is: one agent may answer for several datacentres and namespaces."""
    place = f"{address.datacenter}/{address.partition}/{address.namespace}"
    return f"{address} {place}" if place != "//" else str(address)
