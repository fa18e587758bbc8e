"""
From the documents of one service to the plan that the stack follows.  Pure.

A plan is a value: equal documents make equal plans, and a document that cannot be used raises
ConfigError here, so that the caller keeps the last good plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from meshlib.config import UpstreamConfig
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
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.filter import Filter, compile_filter
from meshlib.route.split import WHOLE, Leg, Split
from meshlib.route.sticky import Sticky
from meshlib.route.table import RouteTable, single, straight

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


def compile_plan(service: str, documents: tuple[Document, ...]) -> ServicePlan:
    """The plan for calls to `service`.  Raises ConfigError with the path of what is wrong."""
    entries = _Entries(service, documents)
    defaults = entries.find(ServiceDefaults) or ServiceDefaults()
    resolver = entries.find(ServiceResolver) or ServiceResolver()
    policy = entries.find(TrafficPolicy) or TrafficPolicy()
    splitter = entries.find(ServiceSplitter)
    sticky, home = policy.stickiness(), Target(service, resolver.default_subset)
    if splitter:
        _check_protocol(service, defaults)
    return ServicePlan(
        service,
        single(_split(splitter, resolver, home, sticky)) if splitter else straight(home),
        _config(service, policy, resolver),
        MappingProxyType({k: compile_filter(v.filter) for k, v in resolver.subsets.items()}),
        frozenset(name for name, subset in resolver.subsets.items() if subset.only_passing),
        resolver.default_subset,
        sticky,
        defaults.protocol,
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


def _check_protocol(service: str, defaults: ServiceDefaults) -> None:
    """Consul's rule: what is not HTTP has no requests to split."""
    if defaults.protocol == "tcp":
        path = f"{path_of('service-defaults', service)}.Protocol"
        hint = f"remove {path_of('service-splitter', service)}, or change the protocol"
        raise ConfigError(path, "tcp", "http, http2 or grpc where calls are split", hint=hint)


def _split(
    splitter: ServiceSplitter, resolver: ServiceResolver, home: Target, sticky: Sticky | None
) -> Split:
    """One leg a target: "" and the default subset's name are the same target."""
    weights: dict[Target, float] = {}
    for number, leg in enumerate(splitter.splits):
        target = Target(leg.service or home.service, leg.service_subset)
        if target.service == home.service:
            path = f"{path_of('service-splitter', home.service)}.Splits[{number}].ServiceSubset"
            target = _own(target, resolver, home, path)
        weights[target] = weights.get(target, 0.0) + leg.weight
    legs = (Leg(target, min(weight, WHOLE)) for target, weight in weights.items())
    return Split(tuple(legs), sticky)


def _own(target: Target, resolver: ServiceResolver, home: Target, path: str) -> Target:
    if not target.subset:
        return home
    if target.subset not in resolver.subsets:
        hint = f"define it in {path_of('service-resolver', home.service)} first"
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
