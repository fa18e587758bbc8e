"""
A compiled discovery chain: router, splitter, resolver, targets (pure).

Consul has followed every redirect, flattened splitters and applied defaults; what is left is to
walk from the start node to targets.  The shapes are those of 1.8 to 1.21
(`agent/structs/discovery_chain.go`), in `cleaned` form: cut to what is understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

from meshlib.control.decoding import Duration, Fields, read
from meshlib.control.documents import SplitterLeg
from meshlib.control.links import merged
from meshlib.control.load_balancer import LoadBalancer
from meshlib.control.resolver import ResolverSubset, ServiceResolver
from meshlib.control.router import RouteDestination, RouterRoute
from meshlib.control.tolerance import tolerated
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.filter import Filter, compile_filter
from meshlib.route.split import WHOLE, Leg

KIND = "discovery-chain"
"""The kind of the document that a chain is put into."""

REFUSED = "Refused"
"""In place of everything else in a chain: why it cannot be read."""

DEFAULT_CONNECT_TIMEOUT = 5.0
"""Seconds; what Consul writes when nobody has said anything."""

HOME = frozenset({"", "default"})
"""Namespaces and partitions that services of ours are in."""

DEEPEST = 8
"""Nodes on the way to a target: a router, and splitters that Consul did not flatten."""

_SILENT = frozenset(
    {
        "AutoVirtualIPs",
        "ConnectTimeout",
        "CustomizationHash",
        "Default",
        "ManualVirtualIPs",
        "MeshGateway",
        "Name",
        "Namespace",
        "Partition",
        "ServiceMeta",
        "TransparentProxy",
    }
)
"""What chains say to sidecars only, or say twice."""

Failovers: TypeAlias = Mapping[Target, tuple[Target, ...]]


class ChainRoute(Fields, frozen=True):
    """A route, and the node it leads to."""

    next_node: str
    definition: RouterRoute = RouterRoute()


class ChainSplit(Fields, frozen=True):
    """A share of the calls, and the node it goes to."""

    next_node: str
    weight: float = 0.0
    """Percent.  Go leaves a zero out."""
    definition: SplitterLeg = SplitterLeg()
    """From Consul 1.11 on; only its header changes count."""


class ChainFailover(Fields, frozen=True):
    """Where to go when a target has nobody."""

    targets: tuple[str, ...] = ()


class ChainResolver(Fields, frozen=True):
    """What is at the end of a way."""

    target: str
    connect_timeout: Duration = Duration(0)
    request_timeout: Duration = Duration(0)
    failover: ChainFailover = ChainFailover()


class ChainNode(Fields, frozen=True):
    """One node: what counts is what its type says it has."""

    type: Literal["router", "splitter", "resolver"]
    routes: tuple[ChainRoute, ...] = ()
    splits: tuple[ChainSplit, ...] = ()
    resolver: ChainResolver | None = None
    load_balancer: LoadBalancer | None = None


class ChainTarget(Fields, frozen=True):
    """Instances of one service, or of a subset of it, in one datacentre."""

    service: str
    service_subset: str = ""
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""
    peer: str = ""
    subset: ResolverSubset = ResolverSubset()
    sni: str = msgspec.field(default="", name="SNI")
    id: str = msgspec.field(default="", name="ID")


class ChainBody(Fields, frozen=True):
    """`Chain` of an answer of `/v1/discovery-chain/:service`."""

    service_name: str
    start_node: str
    nodes: dict[str, ChainNode]
    targets: dict[str, ChainTarget]
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where calls to one service go, and what is at the ends of the ways."""

    service: str
    protocol: str
    routes: tuple[tuple[RouterRoute, tuple[Leg, ...]], ...]
    """In order; what none takes ..."""
    rest: tuple[Leg, ...]
    """... goes here."""
    subsets: Mapping[str, Mapping[str, Filter]]
    """By service."""
    failover: Failovers
    sni: Mapping[Target, str]
    """What a peer that is reached by way of a gateway has to be called in the handshake."""
    resolver: ServiceResolver
    """What the chain says of the service's own resolver."""
    skipped: tuple[str, ...] = ()
    """Ids of failover targets that cannot be reached from here."""


def cleaned(body: Any) -> tuple[Any, tuple[str, ...]]:
    """A chain as Consul returns it, cut to what is understood, and the paths of the rest."""
    return tolerated(ChainBody, body if isinstance(body, dict) else {}, silent=_SILENT)


def read_chain(body: Mapping[str, Any], *, path: str) -> Chain:
    """The chain.  Raises ConfigError, with the path, for one that leads nowhere."""
    return _Walk(read(ChainBody, body, path=path), path).chain()


class _Walk:
    def __init__(self, body: ChainBody, path: str) -> None:
        self._body, self._path = body, path

    def chain(self) -> Chain:
        body = self._body
        routes, rest = self._routes(body.start_node)
        failover, skipped = self._failover()
        reached = self._reached()
        return Chain(
            service=body.service_name,
            protocol=body.protocol or "tcp",
            routes=routes,
            rest=rest,
            subsets=self._subsets(reached.values()),
            failover=failover,
            sni=MappingProxyType({self._target(name): it.sni for name, it in reached.items()}),
            resolver=self._resolver(),
            skipped=skipped,
        )

    def _node(self, name: str) -> ChainNode:
        node = self._body.nodes.get(name)
        if node is None:
            raise ConfigError(f"{self._path}.Nodes", name, "a node that is there")
        return node

    def _routes(self, name: str) -> tuple[tuple[tuple[RouterRoute, tuple[Leg, ...]], ...], Any]:
        """The routes before the one that takes every call, and where that one leads."""
        node, path = self._node(name), f"{self._path}.Nodes.{name}"
        if node.type != "router":
            return (), self._legs(name)
        found: list[tuple[RouterRoute, tuple[Leg, ...]]] = []
        for number, route in enumerate(node.routes):
            legs = self._legs(route.next_node)
            last = number == len(node.routes) - 1
            if not (last and _says_nothing(route.definition)):
                found.append((route.definition, legs))
            if _takes_everything(route.definition):
                return tuple(found), legs
        raise ConfigError(f"{path}.Routes", len(node.routes), "a last one that takes every call")

    def _legs(self, name: str) -> tuple[Leg, ...]:
        """Where a node leads: each target once, and in all the whole.

        Consul rounds each product of weights that it flattens to 0.01, so the sum may be off.
        """
        path = f"{self._path}.Nodes.{name}"
        legs = list(self._followed(name, ()))
        total = sum(leg.weight for leg in legs)
        if not total > 0:
            raise ConfigError(f"{path}.Splits", total, "weights that add up to 100")
        return merged((replace(leg, weight=leg.weight * WHOLE / total) for leg in legs), path)

    def _followed(self, name: str, trail: tuple[str, ...]) -> Iterator[Leg]:
        node, path = self._node(name), f"{self._path}.Nodes.{name}"
        if name in trail or len(trail) >= DEEPEST:
            raise ConfigError(path, " -> ".join((*trail, name)), "a way that ends")
        if node.type == "resolver" and node.resolver is not None:
            yield Leg(self._primary(node.resolver.target, path), WHOLE)
            return
        if node.type != "splitter":
            raise ConfigError(
                f"{path}.Type", node.type, "a splitter, or a resolver with its target"
            )
        for split in node.splits:
            for leg in self._followed(split.next_node, (*trail, name)):
                yield _through(split, leg)

    def _primary(self, name: str, path: str) -> Target:
        if name not in self._body.targets:
            raise ConfigError(f"{path}.Resolver.Target", name, "a target that is there")
        if not _reachable(self._body.targets[name]):
            expected = "a target in the default namespace and partition, and of no peer"
            raise ConfigError(f"{path}.Resolver.Target", name, expected)
        return self._target(name)

    def _target(self, name: str) -> Target:
        it = self._body.targets[name]
        elsewhere = it.datacenter if it.datacenter != self._body.datacenter else ""
        return Target(it.service, it.service_subset, elsewhere)

    def _reached(self) -> Mapping[str, ChainTarget]:
        return {name: it for name, it in self._body.targets.items() if _reachable(it)}

    def _failover(self) -> tuple[Failovers, tuple[str, ...]]:
        reached, lists, skipped = self._reached(), {}, []
        for node in self._body.nodes.values():
            it = node.resolver
            if it is None or it.target not in reached or not it.failover.targets:
                continue
            names = it.failover.targets
            skipped += [name for name in names if name not in reached]
            lists[self._target(it.target)] = tuple(map(self._target, filter(reached.get, names)))
        return MappingProxyType(lists), tuple(skipped)

    def _subsets(self, targets: Iterable[ChainTarget]) -> Mapping[str, Mapping[str, Filter]]:
        found: dict[str, dict[str, Filter]] = {}
        for it in targets:
            if it.service_subset:
                path = f"{self._path}.Targets.{it.id or it.service_subset}.Subset.Filter"
                said = it.subset
                found.setdefault(it.service, {})[it.service_subset] = compile_filter(
                    said.filter, only_passing=said.only_passing, path=path
                )
        return MappingProxyType({name: MappingProxyType(each) for name, each in found.items()})

    def _resolver(self) -> ServiceResolver:
        """Nothing, if calls to the service lead to another one at once."""
        for node in self._body.nodes.values():
            it = node.resolver
            target = self._body.targets.get(it.target) if it else None
            if it and target and target.service == self._body.service_name:
                said = float(it.connect_timeout) != DEFAULT_CONNECT_TIMEOUT
                return ServiceResolver(
                    connect_timeout=it.connect_timeout if said else Duration(0),
                    request_timeout=it.request_timeout,
                    load_balancer=node.load_balancer,
                )
        return ServiceResolver()


def _reachable(target: ChainTarget) -> bool:
    return not target.peer and HOME.issuperset((target.namespace, target.partition))


def _takes_everything(said: RouterRoute) -> bool:
    return said.match.http is None or said.match.http.compiled().everything


def _says_nothing(said: RouterRoute) -> bool:
    """Whether it is the route that Consul adds to those of a router."""
    to = said.destination
    return _takes_everything(said) and to == RouteDestination(service=to.service)


def _through(split: ChainSplit, leg: Leg) -> Leg:
    """`leg`, for calls that come to it by way of `split`."""
    said = split.definition
    return Leg(
        leg.target,
        split.weight * leg.weight / WHOLE,
        said.request_headers.changes().then(leg.request),
        leg.response.then(said.response_headers.changes()),
    )
