"""
The few blocking queries that wake for everything, and say what is worth reading again.

Each first answer is only compared with from then on; whoever reads what it follows after `ready`
misses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from meshlib.control.consul.changes import Catalog, Checks, ConfigEntries, Names
from meshlib.control.consul.entries import CONFIG
from meshlib.control.consul.follow import Follower
from meshlib.control.consul.http import Answer, ConsulClient

STATES, SERVICES = "/v1/health/state/any", "/v1/catalog/services"
KINDS = ("service-defaults", "service-resolver", "service-splitter", "service-router")
"""Of config entries that a chain is compiled of, and ..."""
DEFAULTS = "proxy-defaults"
"""... the one that says which protocol is spoken by who says nothing."""

INTERVAL, BURST = 0.5, 5
"""Seconds between two answers of a trigger, sustained: each may be a megabyte of JSON."""


class News(Protocol):
    """Hears what is worth reading again."""

    def changed(self, names: Collection[str]) -> None:
        """These have certainly changed."""

    def suspect(self) -> None:
        """Something has changed, and it is not known what."""

    def begin(self) -> None:
        """From now on all changes are told: what was read before may be old."""


class Trigger(Protocol):
    """Tells `News` of changes, from `start` until `stop`."""

    @property
    def ready(self) -> bool:
        """Whether all changes are told."""

    @property
    def heard_at(self) -> float:
        """When Consul last confirmed that all changes were told, on the clock; -inf: never."""

    def start(self) -> None:
        """Begin to follow."""

    def stop(self) -> None:
        """No more news."""


class _Together:
    """Blocking queries that only together tell everything."""

    def __init__(self, client: ConsulClient, news: News) -> None:
        self._client, self._news = client, news
        self._followers: dict[str, Follower] = {}
        self._missing: set[str] = set()
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether each has answered."""
        return not self._missing

    @property
    def heard_at(self) -> float:
        """When the last of them was confirmed."""
        return min(each.heard_at for each in self._followers.values())

    def follow(self, path: str, take: Callable[[Any], None], params: dict[str, str | None]) -> None:
        """Follow one path."""
        self._missing.add(path)
        self._followers[path] = Follower(
            self._client,
            path,
            params=params,
            heard=partial(self._heard, path, take),
            interval=INTERVAL,
            burst=BURST,
        )

    def start(self) -> None:
        """Begin to follow."""
        for each in self._followers.values():
            each.start()

    def stop(self) -> None:
        """Stop following."""
        for each in self._followers.values():
            each.stop()

    def _heard(self, path: str, take: Callable[[Any], None], answer: Answer) -> None:
        take(answer.body)
        with self._lock:
            last = self._missing == {path}
            self._missing.discard(path)
        if last:
            self._news.begin()


class HealthTrigger(_Together):
    """Of one datacentre: checks tell at once whom they concern, the catalog seldom does.

    `on_nodes` says which services have instances on nodes.  Weights, meta and ports of instances
    may change without a check that does; of that `News` hears by `suspect`.
    """

    def __init__(
        self,
        client: ConsulClient,
        news: News,
        *,
        datacenter: str = "",
        on_nodes: Callable[[Names], Collection[str]],
    ) -> None:
        super().__init__(client, news)
        self._on_nodes = on_nodes
        self._checks, self._catalog = Checks(), Catalog()
        params: dict[str, str | None] = {"dc": datacenter} if datacenter else {}
        self.follow(STATES, self._states, params)
        self.follow(SERVICES, self._services, params)

    def _states(self, body: Any) -> None:
        services, nodes = self._checks.changed(body)
        concerned = services.union(self._on_nodes(nodes)) if nodes else services
        if self.ready and concerned:
            self._news.changed(concerned)

    def _services(self, body: Any) -> None:
        services = self._catalog.changed(body)
        if self.ready:
            self._news.changed(services)
            self._news.suspect()


class ConfigTrigger(_Together):
    """Of config entries: whose chain may be another one than before."""

    def __init__(self, client: ConsulClient, news: News) -> None:
        super().__init__(client, news)
        self._entries = ConfigEntries()
        for kind in (*KINDS, DEFAULTS):
            self.follow(f"{CONFIG}/{kind}", partial(self._listed, kind), {})

    def _listed(self, kind: str, body: Any) -> None:
        with self._lock:
            names = self._entries.changed(kind, body)
        if not self.ready or not names:
            return
        if kind == DEFAULTS:
            self._news.begin()
        else:
            self._news.changed(names)
