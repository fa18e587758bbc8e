"""
What this process knows of the services it calls.

A service becomes a `Destination` on its first call: its documents are followed and compiled into a
route table and settings, its endpoints into an `Upstream`.  From then on the control plane's
watches keep both up to date, and no request waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from meshlib.balance.upstream import Upstream
from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.control.circuits import ToldCircuits
from meshlib.control.compile import ServicePlan
from meshlib.control.plans import Plans
from meshlib.control.registry import ConfigSource, Discovery
from meshlib.control.routes import NOBODY, Caller
from meshlib.model import Target
from meshlib.observe.events import Listener
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.policy.guards import Guards
from meshlib.runtime import Clock, Rng
from meshlib.stack.client import Destination
from meshlib.stack.fallback import InCode
from meshlib.watch import Watch

NO_FALLBACKS: Mapping[str, InCode] = MappingProxyType({})


class Source(Discovery, ConfigSource, Protocol):
    """Where endpoints and documents come from."""


class Directory:
    """Destinations and upstreams by name, each made once."""

    def __init__(
        self,
        source: Source,
        *,
        clock: Clock,
        rng: Rng,
        overrides: Mapping[str, UpstreamConfig],
        caller: Caller = NOBODY,
        fallbacks: Mapping[str, InCode] = NO_FALLBACKS,
        listener: Listener | None = None,
    ) -> None:
        self._source, self._clock, self._rng = source, clock, rng
        self._overrides = overrides
        self._caller, self._fallbacks, self._listener = caller, fallbacks, listener
        self._lock = threading.RLock()
        self._plans = Plans(source, caller, overrides, listener)
        self._upstreams: dict[str, Upstream] = {}
        self._destinations: dict[str, Destination] = {}

    def destination(self, service: str) -> Destination:
        """What callers name `service`."""
        found = self._destinations.get(service)
        if found is not None:
            return found
        with self._lock:
            return self._destinations.get(service) or self._new_destination(service)

    def upstream(self, service: str) -> Upstream:
        """The endpoints of `service`, and what was learned of them."""
        found = self._upstreams.get(service)
        if found is not None:
            return found
        with self._lock:
            return self._upstreams.get(service) or self._new_upstream(service)

    def upstreams(self) -> tuple[Upstream, ...]:
        """All that were called so far, for introspection."""
        return tuple(self._upstreams.values())

    def destinations(self) -> tuple[Destination, ...]:
        """The same, as callers name them."""
        return tuple(self._destinations.values())

    def failover(self, target: Target) -> tuple[Target, ...]:
        """Where calls to `target` go when nobody there works, in order."""
        plan = self._plans.known(target.service)
        lists = plan.failover if plan is not None else None
        return (lists.get(target.subset) or lists.get("*", ())) if lists else ()

    def serving(self, service: str) -> Watch[ServingConfig]:
        """What documents say `service` is to let in."""
        return self._plans.plan(service).map(lambda plan: plan.serving)

    def _new_destination(self, service: str) -> Destination:
        plan = self._plans.plan(service)
        config = plan.map(lambda value: self._config(service, value))
        told = ToldCircuits(service, self._listener)
        guards = Guards(service, self._clock, self._rng, config.value, told)
        config.subscribe(lambda: guards.configure(config.value))
        new = self._destinations[service] = Destination(
            service=service,
            config=config,
            table=plan.map(lambda value: value.table),
            upstream=self.upstream,
            backoff=config.map(lambda value: value.retry.backoff).map(Backoff),
            budget=config.map(lambda value: value.retry.budget).map(
                lambda budget: RetryBudget(self._clock, budget)
            ),
            guards=guards,
            failover=self.failover,
            fallback=self._fallbacks.get(service),
        )
        return new

    def _new_upstream(self, service: str) -> Upstream:
        plan = self._plans.plan(service)
        resolution = self._source.endpoints(service)
        config = self._config(service, plan.value)
        upstream = Upstream(
            service, self._clock, self._rng, config, self._caller.here, self._listener
        )

        def configure() -> None:
            upstream.configure(self._config(service, plan.value))
            upstream.set_subsets(plan.value.subsets, default=plan.value.default_subset)

        plan.subscribe(configure)
        resolution.subscribe(lambda: upstream.update(resolution.value))
        self._upstreams[service] = upstream
        return upstream

    def _config(self, service: str, plan: ServicePlan) -> UpstreamConfig:
        """What the program says in code beats what the documents say."""
        return self._overrides.get(service, plan.config)
