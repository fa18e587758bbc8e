"""
Endpoints from Consul: one `Watch` for each service and datacentre.

All subsets of a service share one answer of `/v1/health/connect`; their filters are applied here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any
from urllib.parse import quote

from meshlib.control.consul.changes import Names
from meshlib.control.consul.coarse import FINE, Feed, Subject
from meshlib.control.consul.faults import ConsulFault, NotAllowed
from meshlib.control.consul.health import Health, read_health
from meshlib.control.consul.http import TIMEOUT, WAIT, Answer, ConsulClient, Interrupt, Param
from meshlib.control.consul.told import Event, Told, unheard
from meshlib.control.consul.triggers import SERVICES, HealthTrigger
from meshlib.control.local.atfork import ForkLock
from meshlib.model import Bound, Failed, Neg, Pending, Resolution, Snapshot
from meshlib.runtime import Clock, real_clock
from meshlib.watch import Watch

CONNECT, NODES = "/v1/health/connect", "/v1/catalog/nodes"
FILTERED = "x-consul-results-filtered-by-acls"
"""From Consul 1.11 on: something was left out because the token may not read it."""

CONSUL = "consul"
"""The servers register themselves by this name."""
SIDECAR = "-sidecar-proxy"
"""What Consul calls a sidecar, after the name of its service."""

RANK = 2


@dataclass(slots=True)
class _Followed:
    """What is known of one service in one datacentre."""

    service: str
    watch: Watch[Resolution] = field(default_factory=lambda: Watch[Resolution](Pending()))
    seen: bool = False
    """Whether it ever had an instance: then it is known, though it may have none."""
    nodes: Names = frozenset()


class ConsulDiscovery:
    """Follows services from the first question until `close`."""

    def __init__(
        self,
        client: ConsulClient,
        *,
        event: Event = unheard,
        clock: Clock = real_clock,
        fine: int = FINE,
    ) -> None:
        self._client, self._clock, self._fine = client, clock, fine
        self._source = _Health(client)
        self._told = Told(event)
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._feeds: dict[str, Feed] = {}
        self._lock = ForkLock(RANK)

    def endpoints(self, service: str, datacenter: str = "") -> Watch[Resolution]:
        """The endpoints of a service; `Failed` if Consul refuses, and nothing good is known."""
        with self._lock:
            found = self._followed.get((service, datacenter))
            new = None if found else _Followed(service)
            if new is not None:
                found = self._followed[service, datacenter] = new
        if new is not None:
            self._feed(datacenter).follow(self._subject(new, datacenter))
        assert found is not None  # noqa: S101 - for the type checker: one of the two is there
        return found.watch

    def services(self) -> tuple[str, ...]:
        """The names known now, sorted.  Raises RegistryUnavailable."""
        return _callable(self._client.get(SERVICES).body or ())

    def age(self, service: str, datacenter: str = "") -> float | None:
        """Seconds since Consul last confirmed what is known of a service; None: not yet."""
        feed = self._feeds.get(datacenter)
        since = -inf if feed is None else feed.age_since(service)
        return None if since == -inf else max(self._clock() - since, 0.0)

    def close(self) -> None:
        """Stop following; the watches keep their last value."""
        for each in tuple(self._feeds.values()):
            each.close()

    def _feed(self, datacenter: str) -> Feed:
        """Every datacentre has one of its own."""
        found = self._feeds.get(datacenter)
        if found is not None:
            return found
        on_nodes = partial(self._on_nodes, datacenter)
        new = Feed(
            self._source,
            lambda news: HealthTrigger(
                self._client, news, datacenter=datacenter, on_nodes=on_nodes
            ),
            name=f"health{datacenter and '-'}{datacenter}",
            fine=self._fine,
        )
        return self._feeds.setdefault(datacenter, new)

    def _on_nodes(self, datacenter: str, nodes: Names) -> Collection[str]:
        return {
            each.service
            for (_, where), each in tuple(self._followed.items())
            if where == datacenter and each.nodes & nodes
        }

    def _subject(self, followed: _Followed, datacenter: str) -> Subject:
        name = f"{followed.service}@{datacenter}" if datacenter else followed.service
        return Subject(
            followed.service,
            f"{CONNECT}/{quote(followed.service, safe='')}",
            heard=partial(self._heard, followed, name),
            failed=partial(self._failed, followed, name),
            params={"dc": datacenter} if datacenter else {},
        )

    def _heard(self, followed: _Followed, name: str, answer: Answer) -> None:
        nobody = answer.body if isinstance(answer.body, Nobody) else None
        if nobody is not None and nobody.hidden:
            self._failed(followed, name, _node_read(name))
            return
        self._told.over(name)
        health = Health() if nobody else read_health(answer.body)
        followed.nodes = health.nodes
        followed.seen = followed.seen or health.instances > 0
        if nobody is None or followed.seen or followed.service in nobody.names:
            snapshot = Snapshot(followed.service, health.endpoints, answer.index)
            followed.watch.set(Bound(snapshot))
        else:
            followed.watch.set(Neg(_callable(nobody.names)))

    def _failed(self, followed: _Followed, name: str, fault: ConsulFault) -> None:
        """What was good stays."""
        self._told.fault(name, fault)
        if not isinstance(followed.watch.value, Bound):
            followed.watch.set(Failed(str(fault)))


@dataclass(frozen=True, slots=True)
class Nobody:
    """In place of an empty list of instances: what the catalog says."""

    names: Names
    hidden: bool
    """Whether the nodes may not be read: then neither may the instances, and the list is empty."""


class _Health:
    """A client that asks on when a service has no instances.

    Consul answers so for a service it does not know, for one whose instances are all gone, and to
    a token that may not read nodes.
    """

    def __init__(self, client: ConsulClient) -> None:
        self._client = client

    def wait(
        self,
        path: str,
        *,
        index: int,
        seconds: float = WAIT,
        interrupt: Interrupt | None = None,
        **params: Param,
    ) -> Answer:
        """One blocking query."""
        answer = self._client.wait(
            path, index=index, seconds=seconds, interrupt=interrupt, **params
        )
        return answer if index and answer.index == index else self._explained(answer, params)

    def _explained(self, answer: Answer, params: dict[str, Param]) -> Answer:
        if answer.body:
            return answer
        names: Any = self._client.get(SERVICES, timeout=TIMEOUT, **params).body or {}
        hidden = answer.headers.get(FILTERED) == "true" or not self._any_node(params)
        nobody = Nobody(frozenset(names), hidden)
        return Answer(answer.status, nobody, answer.index, answer.headers)

    def _any_node(self, params: dict[str, Param]) -> bool:
        """Whether there is one that may be read: in truth there is at least the agent's own."""
        return bool(self._client.get(NODES, timeout=TIMEOUT, **params).body)


def _callable(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the catalog that calls may be meant for, sorted."""
    known = frozenset(names)
    sidecars = {f"{each}{SIDECAR}" for each in known}
    return tuple(sorted(known - sidecars - {CONSUL}))


def _node_read(name: str) -> NotAllowed:
    return NotAllowed(
        f"Consul hides the instances of {name!r}",
        why="the token lacks node:read: for Consul the answer is an empty list then",
        hint="a token with the service identity of this service has all that its mesh needs",
    )
