"""
What a control plane is to the rest of the mesh: five small protocols.

`local` (one machine, no daemon), `consul` and `static` implement them.  All of it is ordinary
blocking code on daemon threads, started by the first use and started again after a fork; what
they learn arrives in a `Watch`, which a request reads without ever waiting for the control plane.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from meshlib.model import Locality, Resolution
from meshlib.trust.bundle import Credentials
from meshlib.trust.intention import IntentionSet
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Registration:
    """One instance that wants traffic."""

    service: str
    id: str
    host: str
    port: int
    weight: int = 1
    locality: Locality = Locality()
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One configuration entry, in Consul's JSON form; compare-and-set compares its `version`."""

    kind: str
    name: str
    body: Mapping[str, Any]
    version: int = 0
    """0 means "does not exist yet"."""


class Lease(Protocol):
    """A registration that is alive for as long as this process says so."""

    def healthy(self, *, passing: bool, note: str = "") -> None:
        """Say whether the instance wants traffic; heard by the next heartbeat at the latest."""

    def drain(self) -> None:
        """Take the instance out of everybody's picker now, but keep it known."""

    def close(self) -> None:
        """Deregister and stop the heartbeat; later calls do nothing."""


class Registrar(Protocol):
    """Where instances announce themselves."""

    def register(self, registration: Registration) -> Lease:
        """Announce an instance and keep its heartbeat.  Raises RegistryUnavailable, ConfigError."""


class Discovery(Protocol):
    """Where endpoints come from."""

    def endpoints(self, service: str, datacenter: str = "") -> Watch[Resolution]:
        """The endpoints of a service, followed until `close`; the same watch for the same name.

        Only a control plane of several places knows another `datacenter` than the empty one.
        """

    def services(self) -> tuple[str, ...]:
        """The names known now, sorted.  Raises RegistryUnavailable."""


class Aged(Protocol):
    """A discovery that can tell how old its knowledge is: one that lives elsewhere should."""

    def age(self, service: str) -> float | None:
        """Seconds since the registry last confirmed what is known of a service; None: never."""


class ConfigSource(Protocol):
    """Where documents come from and go to."""

    def documents(self, service: str) -> Watch[tuple[Document, ...]]:
        """All documents named `service`, sorted by kind, followed until `close`."""

    def get(self, kind: str, name: str) -> Document | None:
        """One document.  Raises RegistryUnavailable."""

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Write a document; with `cas` only if its version is still the stored one.

        Returns whether it was written.  Raises ConfigError for a document that does not validate,
        RegistryUnavailable.
        """

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; returns whether there was one.  Raises RegistryUnavailable."""


class IntentionSource(Protocol):
    """Where it is said who may call whom."""

    def intentions(self, service: str) -> Watch[IntentionSet]:
        """Who may call `service`, followed until `close`; the same watch for the same name.

        Before anything was heard it is not ready, and its value lets nobody in.
        """


class IdentitySource(Protocol):
    """Where this process's certificate and its trust come from, and what others can prove."""

    @property
    def oldest_tls(self) -> ssl.TLSVersion:
        """The least that peers with such certificates may be expected to speak."""

    def credentials(self, service: str) -> Watch[Credentials]:
        """The leaf and bundles to speak as `service`, replaced before they expire.

        The first value is there when this returns.  Raises IdentityUnavailable.
        """

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """The SPIFFE id that instances of `service` prove.  Raises IdentityUnavailable."""

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """What a client asks a server for (SNI); empty: nothing.  Raises IdentityUnavailable."""


class ControlPlane(Registrar, Discovery, ConfigSource, IntentionSource, IdentitySource, Protocol):
    """All five, from one place."""

    def close(self) -> None:
        """Stop all threads and leave; leases are closed first."""
