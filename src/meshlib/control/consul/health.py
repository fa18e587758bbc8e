"""
From an answer of `/v1/health/connect/:service` to endpoints (pure).

The rules are those by which Consul makes endpoints for Envoy (agent/xds/endpoints.go): a critical
check of the instance or of its node makes it unhealthy, and maintenance is such a check; with any
warning its weight is `Weights.Warning`; without weight it is unhealthy, too, and 128 is the most.
Who is unhealthy is left out.  Consul knows no more of an instance than this, so shapes that no
Consul sends are read as if nothing was said, one instance at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from meshlib.model import NO_HEADERS, Endpoint, Locality, Node

Item: TypeAlias = Mapping[Any, Any]

HEAVIEST = 128
"""Envoy's, and so Consul's, largest weight of an endpoint."""

PASSING, WARNING, CRITICAL = "passing", "warning", "critical"


@dataclass(frozen=True, slots=True)
class Health:
    """What an answer says."""

    endpoints: tuple[Endpoint, ...] = ()
    """Those that may be used, in an order of their own."""
    instances: int = 0
    """How many there are, unhealthy ones included."""
    nodes: frozenset[str] = frozenset()
    """Where they are: what happens to one of these happens to the service."""


def read_health(body: Any) -> Health:
    """What `body` says; entries that make no sense are left out."""
    items = [each for each in body if isinstance(each, dict)] if isinstance(body, list) else []
    memo = _Memo()
    found = (_endpoint(each, memo) for each in items)
    endpoints = sorted((each for each in found if each is not None), key=_order)
    nodes = frozenset(sys.intern(_text(_part(each, "Node"), "Node")) for each in items)
    return Health(tuple(endpoints), len(items), nodes)


def _order(endpoint: Endpoint) -> tuple[str, str, int]:
    return endpoint.id, endpoint.host, endpoint.port


class _Memo:
    """Equal parts of an answer are one object: most instances of a service are alike."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def words(self, item: Item, name: str) -> Mapping[str, str]:
        """A map of texts."""
        texts = {
            sys.intern(key): value
            for key, value in _part(item, name).items()
            if isinstance(key, str) and isinstance(value, str)
        }
        if not texts:
            return NO_HEADERS
        found: Mapping[str, str] = self._known.setdefault(
            (name, *texts.items()), MappingProxyType(texts)
        )
        return found

    def tags(self, service: Item) -> tuple[str, ...]:
        """The tags of an instance."""
        tags = tuple(each for each in _list(service, "Tags") if isinstance(each, str))
        found: tuple[str, ...] = self._known.setdefault(tags, tags)
        return found

    def node(self, item: Item) -> Node:
        """The node of an instance."""
        node = Node(
            sys.intern(_text(item, "Node")),
            _text(item, "Address"),
            sys.intern(_text(item, "Datacenter")),
            self.words(item, "Meta"),
        )
        found: Node = self._known.setdefault((node, *node.meta.items()), node)
        return found

    def locality(self, service: Item, meta: Mapping[str, str]) -> Locality:
        """Where it stands: as Consul (from 1.17 on) knows it, or as it says itself."""
        said = _part(service, "Locality")
        place = Locality(
            _text(said, "Region") or meta.get("region", ""),
            _text(said, "Zone") or meta.get("zone", ""),
        )
        found: Locality = self._known.setdefault(place, place)
        return found


def _endpoint(item: Item, memo: _Memo) -> Endpoint | None:
    """The endpoint, unless it is unhealthy or nowhere."""
    states = set(_states(item))
    service, node = _part(item, "Service"), _part(item, "Node")
    warning = WARNING in states
    weight = _weight(service, warning=warning)
    host, port = _text(service, "Address") or _text(node, "Address"), _number(service, "Port")
    if not states <= {PASSING, WARNING} or weight < 1 or not host or not 0 < port < 1 << 16:
        return None
    meta = memo.words(service, "Meta")
    return Endpoint(
        _text(service, "ID"),
        host,
        port,
        weight,
        memo.locality(service, meta),
        meta,
        memo.tags(service),
        memo.node(node),
        warning,
    )


def _states(item: Item) -> Iterator[str]:
    for check in _list(item, "Checks"):
        yield _text(check, "Status") if isinstance(check, dict) else ""


def _weight(service: Item, *, warning: bool) -> int:
    """Who says nothing of weights has 1 of either, as in Consul."""
    said = service.get("Weights")
    if not isinstance(said, dict):
        return 1
    return min(_number(said, "Warning" if warning else "Passing"), HEAVIEST)


def _list(item: Item, name: str) -> list[Any]:
    found = item.get(name)
    return found if isinstance(found, list) else []


def _part(item: Item, name: str) -> Item:
    found = item.get(name)
    return found if isinstance(found, dict) else {}


def _text(item: Item, name: str) -> str:
    found = item.get(name)
    return found if isinstance(found, str) else ""


def _number(item: Item, name: str) -> int:
    found = item.get(name)
    return found if isinstance(found, int) else 0
