"""
From the documents of one service to the plan that the stack follows.  Pure.

A plan is a value: equal documents make equal plans, and a document that cannot be used raises
ConfigError here, so that the caller keeps the last good plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.control.documents import (
    AnyEntry,
    ServiceDefaults,
    ServiceResolver,
    ServiceSplitter,
    decode,
    one_of,
    path_of,
)
from meshlib.control.durations import format_duration
from meshlib.control.registry import Document
from meshlib.control.router import ServiceRouter
from meshlib.control.routes import NOBODY, Caller, TableMaker
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.filter import Filter, compile_filter
from meshlib.route.split import WHOLE, Leg, Split, whole
from meshlib.route.sticky import Sticky
from meshlib.route.table import RouteTable

EntryT = TypeVar("EntryT", bound=AnyEntry)


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
    service: str, documents: tuple[Document, ...], caller: Caller = NOBODY
) -> ServicePlan:
    """The plan for calls to `service` by `caller`.

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
    sticky, home = policy.stickiness(), _home(service, resolver)
    config = _config(service, policy, resolver)
    split = _split(service, splitter, resolver, home, sticky) if splitter else whole(home)
    own = partial(_own, resolver=resolver, home=home)
    return ServicePlan(
        service,
        TableMaker(service, split, own, policy, config.retry, caller).table(router),
        config,
        MappingProxyType({k: compile_filter(v.filter) for k, v in resolver.subsets.items()}),
        frozenset(name for name, subset in resolver.subsets.items() if subset.only_passing),
        resolver.default_subset,
        sticky,
        defaults.protocol,
        policy.served(),
        _failover(service, resolver),
    )


class _Entries:
    """The decoded documents of one service, one a kind."""

    def __init__(self, service: str, documents: tuple[Document, ...]) -> None:
        self._by_kind: dict[type, AnyEntry] = {}
        for document in documents:
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


def _home(service: str, resolver: ServiceResolver) -> Target:
    """Where calls go that nothing leads elsewhere."""
    if resolver.redirect is None:
        return Target(service, resolver.default_subset)
    if resolver.redirect.service in {"", service}:
        path = f"{path_of('service-resolver', service)}.Redirect.Service"
        raise ConfigError(path, resolver.redirect.service, "another service")
    return Target(resolver.redirect.service or service, resolver.redirect.service_subset)


def _failover(service: str, resolver: ServiceResolver) -> Mapping[str, tuple[Target, ...]]:
    """The lists of the resolver."""
    lists: dict[str, tuple[Target, ...]] = {}
    for subset, said in resolver.failover.items():
        path = f"{path_of('service-resolver', service)}.Failover.{subset}"
        targets = tuple(Target(to.service or service, to.service_subset) for to in said.listed())
        for number, target in enumerate(targets):
            if target.service == service and target.subset not in {"", *resolver.subsets}:
                where = f"{path}.Targets[{number}].ServiceSubset"
                raise ConfigError(where, target.subset, one_of(resolver.subsets))
        lists[subset] = targets
    return MappingProxyType(lists)


def _check_protocol(service: str, defaults: ServiceDefaults, kind: str) -> None:
    """Consul's rule: what is not HTTP has no requests to route or split."""
    if defaults.protocol == "tcp":
        path = f"{path_of('service-defaults', service)}.Protocol"
        hint = f"remove {path_of(kind, service)}, or change the protocol"
        raise ConfigError(path, "tcp", "http, http2 or grpc where calls are routed", hint=hint)


def _split(
    service: str,
    splitter: ServiceSplitter,
    resolver: ServiceResolver,
    home: Target,
    sticky: Sticky | None,
) -> Split:
    """One leg a target: "" and the default subset's name are the same target."""
    legs: dict[Target, Leg] = {}
    for number, said in enumerate(splitter.splits):
        target = Target(said.service or service, said.service_subset)
        path = f"{path_of('service-splitter', service)}.Splits[{number}]"
        if target.service == service:
            target = _own(target, f"{path}.ServiceSubset", resolver=resolver, home=home)
        request, response = said.request_headers.changes(), said.response_headers.changes()
        leg = legs.get(target, Leg(target, 0.0, request, response))
        if (leg.request, leg.response) != (request, response):
            raise ConfigError(path, str(target), "the same header changes for the same target")
        legs[target] = replace(leg, weight=min(leg.weight + said.weight, WHOLE))
    return Split(tuple(legs.values()), sticky)


def _own(target: Target, path: str, *, resolver: ServiceResolver, home: Target) -> Target:
    if not target.subset:
        return home
    if target.subset not in resolver.subsets:
        hint = f"define it in {path_of('service-resolver', target.service)} first"
        raise ConfigError(path, target.subset, one_of(resolver.subsets), hint=hint)
    return target


def _config(service: str, policy: TrafficPolicy, resolver: ServiceResolver) -> UpstreamConfig:
    """The policy, with the two times that Consul's resolver has words for."""
    config = policy.upstream()
    if resolver.connect_timeout:
        said = policy.connect.timeout if policy.connect else None
        _check_agree(service, said, resolver.connect_timeout, "Connect.Timeout", "ConnectTimeout")
        config = _with(config, connect=_with(config.connect, timeout=resolver.connect_timeout))
    if resolver.request_timeout:
        _check_agree(service, policy.timeout, resolver.request_timeout, "Timeout", "RequestTimeout")
        config = _with(config, timeout=resolver.request_timeout)
    return config


def _check_agree(service: str, ours: float | None, theirs: float, here: str, there: str) -> None:
    """Two documents that say different things: neither is ignored, both are refused."""
    if ours is not None and ours != theirs:
        path = f"{path_of('traffic-policy', service)}.{here}"
        same = f"{format_duration(theirs)!r}, as {path_of('service-resolver', service)}.{there}"
        raise ConfigError(path, format_duration(ours), f"{same} says", hint="keep one of the two")


StructT = TypeVar("StructT", bound=msgspec.Struct)


def _with(struct: StructT, **changes: Any) -> StructT:
    """A changed copy; times are plain floats, so that plans compare by value."""
    plain = {k: float(v) if isinstance(v, float) else v for k, v in changes.items()}
    return msgspec.structs.replace(struct, **plain)
