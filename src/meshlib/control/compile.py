"""
From the documents of one service to the plan that the stack follows.  Pure.

A plan is a value: equal documents make equal plans, and a document that cannot be used raises
ConfigError here, so that the caller keeps the last good plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from meshlib.config import RetryConfig, ServingConfig, UpstreamConfig
from meshlib.control.documents import (
    AnyEntry,
    ServiceDefaults,
    ServiceResolver,
    ServiceSplitter,
    decode,
    one_of,
    path_of,
)
from meshlib.control.effective import effective
from meshlib.control.intentions import KIND as INTENTIONS
from meshlib.control.links import Links, Ways, merged, through
from meshlib.control.registry import Document
from meshlib.control.router import ServiceRouter
from meshlib.control.routes import NOBODY, Caller, Own, TableMaker
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.filter import Filter, compile_filter
from meshlib.route.split import WHOLE, Leg, Split, whole
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
    only_passing: frozenset[str] = frozenset()
    """Subsets that leave endpoints with a warning out."""
    default_subset: str = ""
    """Where a leg of another service's table leads, when it names this service and no subset."""
    sticky: Sticky | None = None
    protocol: str = "http"
    serving: ServingConfig = field(default_factory=ServingConfig)
    """What the service itself lets in."""
    failover: Mapping[str, tuple[Target, ...]] = field(default_factory=dict, hash=False)
    """Where calls go when a subset has nobody, in order; `*` is for those not named."""


def compile_plan(
    service: str,
    documents: tuple[Document, ...],
    caller: Caller = NOBODY,
    *,
    retry: RetryConfig | None = None,
    others: Others = no_others,
) -> ServicePlan:
    """The plan for calls to `service` by `caller`.

    `retry` is what routes that say something of retries change, if not what the documents say.
    Raises ConfigError with the path of what is wrong.
    """
    entries = _Entries(service, documents)
    defaults = entries.find(ServiceDefaults) or ServiceDefaults()
    resolver = entries.find(ServiceResolver) or ServiceResolver()
    policy = entries.find(TrafficPolicy) or TrafficPolicy()
    splitter, router = entries.find(ServiceSplitter), entries.find(ServiceRouter)
    for entry, kind in ((splitter, "service-splitter"), (router, "service-router")):
        if entry:
            _check_protocol(service, defaults, kind)
    links = _links(service, entries, others)
    sticky, home = policy.stickiness(), _home(service, resolver, links)
    config = effective(service, policy, resolver)
    own = partial(_own, resolver=resolver, home=home)
    split = Split(_legs(service, splitter, links, own), sticky) if splitter else whole(home)

    def elsewhere(target: Target, path: str) -> Split:
        return Split(merged(links.legs(target, path), path), sticky)

    return ServicePlan(
        service,
        TableMaker(service, split, own, elsewhere, policy, retry or config.retry, caller).table(
            router
        ),
        config,
        MappingProxyType({k: compile_filter(v.filter) for k, v in resolver.subsets.items()}),
        frozenset(name for name, subset in resolver.subsets.items() if subset.only_passing),
        resolver.default_subset,
        sticky,
        defaults.protocol,
        policy.served(),
        _failover(service, resolver, links),
    )


class _Entries:
    """The decoded documents of one service, one a kind."""

    def __init__(self, service: str, documents: tuple[Document, ...]) -> None:
        self._by_kind: dict[type, AnyEntry] = {}
        for document in documents:
            if document.kind == INTENTIONS:
                continue  # about who may call, which is the callee's to decide
            path = path_of(document.kind, document.name)
            if document.name != service:
                raise ConfigError(path, document.name, f"a document of {service!r}")
            entry = decode(document)
            if type(entry) in self._by_kind:
                raise ConfigError(path, document.kind, "one document of a kind")
            self._by_kind[type(entry)] = entry

    def find(self, kind: type[EntryT]) -> EntryT | None:
        entry = self._by_kind.get(kind)
        return entry if isinstance(entry, kind) else None


def _links(service: str, own: _Entries, others: Others) -> Links:
    @cache
    def ways(name: str) -> Ways:
        entries = own if name == service else _Entries(name, others(name))
        resolver = entries.find(ServiceResolver)
        return Ways(entries.find(ServiceSplitter), resolver.redirect if resolver else None)

    return Links(ways)


def _home(service: str, resolver: ServiceResolver, links: Links) -> Target:
    """Where calls go that nothing leads elsewhere."""
    if resolver.redirect is None:
        return Target(service, resolver.default_subset)
    path = f"{path_of('service-resolver', service)}.Redirect.Service"
    if resolver.redirect.service in {"", service}:
        raise ConfigError(path, resolver.redirect.service, "another service")
    return links.resolved(Target(service), path)


def _failover(
    service: str, resolver: ServiceResolver, links: Links
) -> Mapping[str, tuple[Target, ...]]:
    """The lists of the resolver."""
    lists: dict[str, tuple[Target, ...]] = {}
    for subset, said in resolver.failover.items():
        path = f"{path_of('service-resolver', service)}.Failover.{subset}"
        targets = tuple(Target(to.service or service, to.service_subset) for to in said.listed())
        for number, target in enumerate(targets):
            if target.service == service and target.subset not in {"", *resolver.subsets}:
                where = f"{path}.Targets[{number}].ServiceSubset"
                raise ConfigError(where, target.subset, one_of(resolver.subsets))
        lists[subset] = tuple(
            target if target.service == service else links.resolved(target, path)
            for target in targets
        )
    return MappingProxyType(lists)


def _check_protocol(service: str, defaults: ServiceDefaults, kind: str) -> None:
    """Consul's rule: what is not HTTP has no requests to route or split."""
    if defaults.protocol == "tcp":
        path = f"{path_of('service-defaults', service)}.Protocol"
        hint = f"remove {path_of(kind, service)}, or change the protocol"
        raise ConfigError(path, "tcp", "http, http2 or grpc where calls are routed", hint=hint)


def _legs(service: str, splitter: ServiceSplitter, links: Links, own: Own) -> tuple[Leg, ...]:
    """The legs of the service's splitter, and of those they lead to."""

    def all_legs() -> Iterator[Leg]:
        for number, said in enumerate(splitter.splits):
            target = Target(said.service or service, said.service_subset)
            path = f"{path_of('service-splitter', service)}.Splits[{number}]"
            if target.service == service:
                yield through(said, Leg(own(target, f"{path}.ServiceSubset"), WHOLE))
                continue
            for leg in links.legs(target, f"{path}.Service", (service,)):
                yield through(said, leg)

    return merged(all_legs(), f"{path_of('service-splitter', service)}.Splits")


def _own(target: Target, path: str, *, resolver: ServiceResolver, home: Target) -> Target:
    if not target.subset:
        return home
    if target.subset not in resolver.subsets:
        hint = f"define it in {path_of('service-resolver', target.service)} first"
        raise ConfigError(path, target.subset, one_of(resolver.subsets), hint=hint)
    return target
