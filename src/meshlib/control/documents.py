"""
The documents that both stores hold, in Consul's JSON form.

What can be said with a Consul config entry is said with it, so that Envoy users of the same
Consul see the same thing; `traffic-policy` says the rest.  Only fields that are honoured exist
here: anything else is an error with its path, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from meshlib.control.decoding import Fields, read
from meshlib.control.entry import Entry
from meshlib.control.intentions import ServiceIntentions
from meshlib.control.one_place import check_here
from meshlib.control.registry import Document
from meshlib.control.resolver import ServiceResolver, one_of
from meshlib.control.router import HeaderModifiers, ServiceRouter
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.route.split import check_weights


class NotHttp(ConfigError):
    """Calls of a service that is not known to speak HTTP cannot be routed or split."""


class ServiceDefaults(Entry, frozen=True):
    """What a service speaks."""

    protocol: Literal["http", "http2", "grpc", "tcp"] = "http"
    """Consul's own default is tcp; a meshlib service speaks HTTP."""


class SplitterLeg(Fields, frozen=True):
    """One share of the calls."""

    weight: float = 0.0
    """Percent."""
    service: str = ""
    """Empty: the service of the document."""
    service_subset: str = ""
    """Empty: the default subset of that service."""
    request_headers: HeaderModifiers = HeaderModifiers()
    """Changes to what goes this way ..."""
    response_headers: HeaderModifiers = HeaderModifiers()
    """... and to what comes back."""


class ServiceSplitter(Entry, frozen=True, kw_only=True):
    """How calls are shared between subsets or services."""

    splits: tuple[SplitterLeg, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights([leg.weight for leg in self.splits])
        seen: set[tuple[str, str]] = set()
        for number, leg in enumerate(self.splits):
            destination = leg.service, leg.service_subset
            if destination in seen:
                raise ConfigError(f"Splits[{number}]", destination, "every destination once")
            seen.add(destination)


AnyEntry: TypeAlias = (
    ServiceDefaults
    | ServiceIntentions
    | ServiceResolver
    | ServiceRouter
    | ServiceSplitter
    | TrafficPolicy
)

KINDS: Mapping[str, type[AnyEntry]] = MappingProxyType(
    {
        "service-defaults": ServiceDefaults,
        "service-intentions": ServiceIntentions,
        "service-resolver": ServiceResolver,
        "service-router": ServiceRouter,
        "service-splitter": ServiceSplitter,
        "traffic-policy": TrafficPolicy,
    }
)


def validate(document: Document) -> None:
    """Raise ConfigError, with the full path, unless the document can be honoured."""
    decode(document)


def decode(document: Document, *, consul: bool = False) -> AnyEntry:
    """What the document says.  Raises ConfigError, with the full path, for what cannot be used.

    `consul`: may it speak of what only Consul has, such as other datacentres?
    """
    path = path_of(document.kind, document.name)
    entry = read(_kind(document, path), document.body, path=path)
    for field, given, meant in (
        ("Kind", entry.kind, document.kind),
        ("Name", entry.name, document.name),
    ):
        if given not in {"", meant}:
            raise ConfigError(f"{path}.{field}", given, f"{meant!r}, as the document is filed")
    if isinstance(entry, ServiceIntentions):
        entry.check_wildcard(document.name, path=path)
    if isinstance(entry, ServiceResolver) and not consul:
        check_here(entry, path=path)
    return entry


def path_of(kind: str, name: str) -> str:
    """How errors call a document."""
    return f"{kind}/{name}"


def _kind(document: Document, path: str) -> type[AnyEntry]:
    if document.kind not in KINDS:
        raise ConfigError(path, document.kind, one_of(KINDS))
    if not document.name:
        raise ConfigError(path, document.name, "the name of a service")
    return KINDS[document.kind]
