"""
From the documents of one service to the plan that the stack follows.  Pure.

A plan is a value: equal documents make equal plans, and a document that cannot be used raises
ConfigError here, so that the caller keeps the last good plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from types import MappingProxyType

from meshlib.config import RetryConfig
from meshlib.control.compile_chain import chain_plan, is_compiled
from meshlib.control.documents import ServiceDefaults, ServiceSplitter, path_of
from meshlib.control.effective import effective
from meshlib.control.links import Links, Ways, merged, through
from meshlib.control.plan import Entries, Others, ServicePlan, no_others
from meshlib.control.registry import Document
from meshlib.control.resolver import ServiceResolver, one_of
from meshlib.control.router import ServiceRouter
from meshlib.control.routes import NOBODY, Caller, Own, TableMaker
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.filter import Filter, compile_filter
from meshlib.route.split import WHOLE, Leg, Split, whole


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
    if is_compiled(documents):
        return chain_plan(service, documents, caller, retry=retry, others=others)
    entries = Entries(service, documents)
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
        _subsets(resolver),
        resolver.default_subset,
        sticky,
        defaults.protocol,
        policy.served(),
        _failover(service, resolver, links),
    )


def _subsets(resolver: ServiceResolver) -> Mapping[str, Filter]:
    return MappingProxyType(
        {
            name: compile_filter(it.filter, only_passing=it.only_passing)
            for name, it in resolver.subsets.items()
        }
    )


def _links(service: str, own: Entries, others: Others) -> Links:
    @cache
    def ways(name: str) -> Ways:
        entries = own if name == service else Entries(name, others(name))
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
