"""What is known of one service when all its documents have been read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.control.documents import AnyEntry, decode, path_of
from meshlib.control.intentions import KIND as INTENTIONS
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.filter import Filter
from meshlib.route.sticky import Sticky
from meshlib.route.table import RouteTable

EntryT = TypeVar("EntryT", bound=AnyEntry)

Others: TypeAlias = Callable[[str], tuple[Document, ...]]
"""The documents of another service, which a leg leads to."""


def no_others(_: str) -> tuple[Document, ...]:
    """None."""
    return ()


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """All that documents say about one service."""

    service: str
    table: RouteTable
    config: UpstreamConfig = field(default_factory=UpstreamConfig)
    subsets: Mapping[str, Filter] = field(default_factory=dict, hash=False)
    default_subset: str = ""
    """Where a leg of another service's table leads, when it names this service and no subset."""
    sticky: Sticky | None = None
    protocol: str = "http"
    serving: ServingConfig = field(default_factory=ServingConfig)
    """What the service itself lets in."""
    failover: Mapping[str, tuple[Target, ...]] = field(default_factory=dict, hash=False)
    """Where calls go when a subset has nobody, in order; `*` is for those not named."""
    detours: Mapping[Target, tuple[Target, ...]] = field(default_factory=dict, hash=False)
    """The same by target, also those of other services, where Consul has compiled it."""
    foreign: Mapping[str, Mapping[str, Filter]] = field(default_factory=dict, hash=False)
    """Subsets of other services that the table leads to, as far as their filters came with it."""

    def instead_of(self, target: Target) -> tuple[Target, ...]:
        """Where calls go when `target`, which is this service's or in its table, has nobody."""
        if target in self.detours or target.service != self.service:
            return self.detours.get(target, ())
        return self.failover.get(target.subset) or self.failover.get("*", ())


class Entries:
    """The decoded documents of one service, one a kind.  Raises ConfigError."""

    def __init__(
        self, service: str, documents: Iterable[Document], *, consul: bool = False
    ) -> None:
        self._by_kind: dict[type, AnyEntry] = {}
        for document in documents:
            if document.kind == INTENTIONS:
                continue  # about who may call, which is the callee's to decide
            path = path_of(document.kind, document.name)
            if document.name != service:
                raise ConfigError(path, document.name, f"a document of {service!r}")
            entry = decode(document, consul=consul)
            if type(entry) in self._by_kind:
                raise ConfigError(path, document.kind, "one document of a kind")
            self._by_kind[type(entry)] = entry

    def find(self, kind: type[EntryT]) -> EntryT | None:
        """The document of a kind."""
        entry = self._by_kind.get(kind)
        return entry if isinstance(entry, kind) else None
