"""
What has changed, and whom that concerns (pure).

A blocking query for each service is too many, so a few on everything wake instead, and these
compare what they hear with what they heard before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Names: TypeAlias = frozenset[str]

NONE: Names = frozenset()


class Checks:
    """Compares answers of `/v1/health/state/any`.

    Remembered is one number for each service and node.  The time a check was made counts, as an
    instance may go and come back between two answers, and so do its notes, where instances of ours
    say how they are called; when its output changed last does not.
    """

    def __init__(self) -> None:
        self._services: dict[str, int] = {}
        self._nodes: dict[str, int] = {}

    def changed(self, body: Any) -> tuple[Names, Names]:
        """The services, and the nodes, with checks that came, went, or changed their state."""
        services: dict[str, set[Any]] = {}
        nodes: dict[str, set[Any]] = {}
        for each in _items(body):
            service, node = each.get("ServiceName"), str(each.get("Node"))
            groups, name = (services, service) if service else (nodes, node)
            state = tuple(map(each.get, ("Status", "ServiceID", "CreateIndex", "Notes")))
            groups.setdefault(name, set()).add((node, each.get("CheckID"), *state))
        before, self._services = self._services, _numbers(services)
        nodes_before, self._nodes = self._nodes, _numbers(nodes)
        return _different(before, self._services), _different(nodes_before, self._nodes)


class Catalog:
    """Compares answers of `/v1/catalog/services`."""

    def __init__(self) -> None:
        self.names: Names = NONE
        self._tags: dict[str, int] = {}

    def changed(self, body: Any) -> Names:
        """The services that came, went, or have other tags."""
        said = body if isinstance(body, dict) else {}
        self.names = frozenset(said)
        before = self._tags
        self._tags = {name: hash(tuple(tags or ())) for name, tags in said.items()}
        return _different(before, self._tags)


class ConfigEntries:
    """Compares lists of config entries, and knows whose chains an entry is a part of."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, int]] = {}
        self._refers: dict[str, dict[str, Names]] = {}

    def changed(self, kind: str, body: Any) -> Names:
        """The services whose entries, or entries that these lead to, are others than before."""
        before, refers_before = self._versions.get(kind, {}), self._refers.get(kind, {})
        named = {str(each.get("Name")): each for each in _items(body)}
        versions = {name: int(each.get("ModifyIndex") or 0) for name, each in named.items()}
        refers = {name: references(each) for name, each in named.items()}
        self._versions[kind], self._refers[kind] = versions, refers
        graphs = [*self._refers.values(), refers_before]
        return _with_dependents(_different(before, versions), graphs)


def references(entry: Mapping[str, Any]) -> Names:
    """The services that a router, splitter or resolver leads to."""
    return frozenset(_services_in(entry)) - {""}


def _services_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        named = value.get("Service")
        if isinstance(named, str):
            yield named
        for each in value.values():
            yield from _services_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _services_in(each)


def _with_dependents(changed: Names, graphs: Iterable[Mapping[str, Names]]) -> Names:
    edges = [(name, to) for graph in graphs for name, to in graph.items() if to]
    affected: set[str] = set(changed)
    while True:
        more = {name for name, to in edges if name not in affected and affected & to}
        if not more:
            return frozenset(affected)
        affected |= more


def _items(body: Any) -> list[dict[str, Any]]:
    return [each for each in body if isinstance(each, dict)] if isinstance(body, list) else []


def _numbers(groups: Mapping[str, set[Any]]) -> dict[str, int]:
    return {name: hash(frozenset(group)) for name, group in groups.items()}


def _different(before: Mapping[str, int], now: Mapping[str, int]) -> Names:
    """The names that are in one only, or have another number."""
    return frozenset(
        name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )
