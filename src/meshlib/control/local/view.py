"""
What the store says at one moment, and what follows from it at a given time.

Pure: rows and a time go in, resolutions come out.  Times are seconds on the machine's monotonic
clock, which all processes of one boot share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

from meshlib.control.local.process import Process
from meshlib.control.registry import Document, Registration
from meshlib.model import Bound, Endpoint, Neg, Resolution, Snapshot


@dataclass(frozen=True, slots=True)
class Instance:
    """One registered instance, as its owner last wrote it."""

    registration: Registration
    token: str
    """Made anew by each registration: who knows it owns the row."""
    process: Process
    ttl: float
    """Seconds it is alive after a heartbeat."""
    expires_at: float
    passing: bool = True
    note: str = ""
    draining: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Service and id."""
        return self.registration.service, self.registration.id

    def alive(self, now: float, boot: str) -> bool:
        """Whether its owner was heard of within its time to live.

        An expiry far in the future was written on the clock of an earlier boot; where boots have
        no id, that is what tells them apart.
        """
        return self.process.boot == boot and now < self.expires_at <= now + 2 * self.ttl

    @property
    def wanted(self) -> bool:
        """Whether it wants traffic."""
        return self.passing and not self.draining

    def endpoint(self) -> Endpoint:
        """What a balancer needs to know of it."""
        it = self.registration
        meta = MappingProxyType(dict(it.meta))
        return Endpoint(it.id, it.host, it.port, it.weight, it.locality, meta)


@dataclass(frozen=True, slots=True)
class View:
    """All rows, read in one transaction."""

    count: int
    """The change counter."""
    instances: tuple[Instance, ...]
    registered: frozenset[str]
    """Services that had an instance at any time."""
    documents: tuple[Document, ...]
    """Sorted by kind."""

    def services(self) -> tuple[str, ...]:
        """The names that mean something, sorted."""
        described = {document.name for document in self.documents if _describes_one(document)}
        return tuple(sorted(self.registered | described))

    def named(self, name: str) -> tuple[Document, ...]:
        """The documents of that name, sorted by kind."""
        return tuple(document for document in self.documents if document.name == name)

    def resolve(
        self, services: Iterable[str], now: float, boot: str
    ) -> Iterator[tuple[str, Resolution]]:
        """Say of each service where to send calls to it."""
        known = self.services()
        usable: dict[str, list[Endpoint]] = {service: [] for service in known}
        for each in self.instances:
            if each.wanted and each.alive(now, boot):
                usable[each.registration.service].append(each.endpoint())
        for service in services:
            if service in usable:
                endpoints = sorted(usable[service], key=_by_id)
                yield service, Bound(Snapshot(service, tuple(endpoints), self.count))
            else:
                yield service, Neg(known)

    def next_expiry(self, now: float, boot: str) -> float:
        """When the next of the living would die without another heartbeat; inf if none lives."""
        living = (each for each in self.instances if each.alive(now, boot))
        return min((each.expires_at for each in living), default=inf)

    def dead(self, now: float, boot: str) -> Iterator[Instance]:
        """The rows whose owner has not been heard of in time."""
        return (each for each in self.instances if not each.alive(now, boot))

    def spare(self, silent: Collection[Instance], now: float) -> View:
        """The same, with these instances as if they had just been heard of."""
        heard = {each.token: replace(each, expires_at=now + each.ttl) for each in silent}
        return replace(self, instances=tuple(heard.get(it.token, it) for it in self.instances))


def _by_id(endpoint: Endpoint) -> str:
    return endpoint.id


def _describes_one(document: Document) -> bool:
    """Whether a document is about one service: `*` and `global` are about all."""
    return document.kind != "proxy-defaults" and document.name != "*"
