"""
The documents that both stores hold, in Consul's JSON form.

What can be said with a Consul config entry is said with it, so that Envoy users of the same
Consul see the same thing; `traffic-policy` says the rest.  Only fields that are honoured exist
here: anything else is an error with its path, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from meshlib.control.decoding import Duration, Fields, read
from meshlib.control.entry import Entry
from meshlib.control.intentions import ServiceIntentions
from meshlib.control.load_balancer import LoadBalancer
from meshlib.control.registry import Document
from meshlib.control.router import HeaderModifiers, ServiceRouter
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.route.filter import compile_filter
from meshlib.route.split import check_weights

_SUBSET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A DNS label, as Consul wants it: the name becomes a part of the SNI."""


class ServiceDefaults(Entry, frozen=True):
    """What a service speaks."""

    protocol: Literal["http", "http2", "grpc", "tcp"] = "http"
    """Consul's own default is tcp; a meshlib service speaks HTTP."""


class ResolverSubset(Fields, frozen=True):
    """The endpoints that a filter keeps."""

    filter: str = ""
    """Consul's filter language; empty keeps all."""
    only_passing: bool = False
    """Whether endpoints with a warning are left out too."""

    def __post_init__(self) -> None:
        compile_filter(self.filter)


class ResolverRedirect(Fields, frozen=True):
    """Another service in place of this one."""

    service: str = ""
    """Empty: this one, another subset of it."""
    service_subset: str = ""
    datacenter: str = ""

    def __post_init__(self) -> None:
        check_here(self.datacenter, path="Datacenter")


class FailoverTarget(ResolverRedirect, frozen=True):
    """Where to go when there is nobody."""


class ResolverFailover(Fields, frozen=True):
    """A list of targets, tried in order; or, in Consul's older form, one of them."""

    service: str = ""
    service_subset: str = ""
    datacenters: tuple[str, ...] = ()
    targets: tuple[FailoverTarget, ...] = ()

    def __post_init__(self) -> None:
        for number, datacenter in enumerate(self.datacenters):
            check_here(datacenter, path=f"Datacenters[{number}]")
        one = self.service or self.service_subset
        if bool(one) == bool(self.targets):
            expected = "a list of targets, or a service or subset"
            raise ConfigError("Targets", len(self.targets), expected)

    def listed(self) -> tuple[FailoverTarget, ...]:
        """The targets."""
        one = FailoverTarget(service=self.service, service_subset=self.service_subset)
        return self.targets or (one,)


class ServiceResolver(Entry, frozen=True):
    """Which subsets a service has, and how it is reached."""

    default_subset: str = ""
    subsets: dict[str, ResolverSubset] = msgspec.field(default_factory=dict)
    connect_timeout: Duration = Duration(0)
    """Zero, as in Consul: not said."""
    request_timeout: Duration = Duration(0)
    """Zero, as in Consul: not said."""
    redirect: ResolverRedirect | None = None
    """Excludes everything else, as in Consul."""
    failover: dict[str, ResolverFailover] = msgspec.field(default_factory=dict)
    """By subset; `*` is for all that are not named."""
    load_balancer: LoadBalancer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_redirect()
        for name in self.failover:
            if name not in {"*", *self.subsets}:
                raise ConfigError(f"Failover.{name}", name, f"`*` or {one_of(self.subsets)}")
        for name in self.subsets:
            if not _SUBSET_NAME.fullmatch(name):
                label = "1 to 63 of a-z, 0-9 and -, which neither begins nor ends it"
                raise ConfigError(f"Subsets.{name}", name, label)
        if self.default_subset and self.default_subset not in self.subsets:
            raise ConfigError("DefaultSubset", self.default_subset, one_of(self.subsets))

    def _check_redirect(self) -> None:
        if self.redirect is None:
            return
        if not (self.redirect.service or self.redirect.service_subset):
            raise ConfigError("Redirect", "", "a service to go to")
        others: dict[str, Collection[str]] = {"Subsets": self.subsets, "Failover": self.failover}
        for field, names in others.items():
            if names:
                raise ConfigError(field, list(names), "nothing beside a Redirect")


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


def decode(document: Document) -> AnyEntry:
    """What the document says.  Raises ConfigError, with the full path, for what cannot be used."""
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
        entry.check_tokens(path=path)
    return entry


def check_here(datacenter: str, *, path: str) -> None:
    """Raise ConfigError for a datacenter: only Consul has others."""
    if datacenter:
        hint = "leave it out: the services of one control plane are all in one place"
        raise ConfigError(path, datacenter, "no datacenter, as there is but one", hint=hint)


def path_of(kind: str, name: str) -> str:
    """How errors call a document."""
    return f"{kind}/{name}"


def one_of(names: Mapping[str, object]) -> str:
    """What would be right, when only these names are."""
    return f"one of {', '.join(sorted(names))}" if names else "none, as none is defined"


def _kind(document: Document, path: str) -> type[AnyEntry]:
    if document.kind not in KINDS:
        raise ConfigError(path, document.kind, one_of(KINDS))
    if not document.name:
        raise ConfigError(path, document.name, "the name of a service")
    return KINDS[document.kind]
