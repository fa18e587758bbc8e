"""
What this process knows of the services it calls.

A service becomes a `Destination` on its first call: its documents are followed and compiled into a
route table and settings, its endpoints into an `Upstream`.  From then on the control plane's
watches keep both up to date, and no request waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from meshlib.balance.upstream import Upstream
from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.control.circuits import LoggedCircuits
from meshlib.control.compile import ServicePlan, compile_plan
from meshlib.control.registry import ConfigSource, Discovery, Document
from meshlib.control.routes import NOBODY, Caller
from meshlib.errors import ConfigError
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

_log = logging.getLogger("meshlib.config")


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
        self._plans: dict[str, Watch[ServicePlan]] = {}
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

    def failover(self, target: Target) -> tuple[Target, ...]:
        """Where calls to `target` go when nobody there works, in order."""
        plan = self._plans.get(target.service)
        lists = plan.value.failover if plan is not None else None
        return (lists.get(target.subset) or lists.get("*", ())) if lists else ()

    def serving(self, service: str) -> Watch[ServingConfig]:
        """What documents say `service` is to let in."""
        with self._lock:
            return self._plan(service).map(lambda plan: plan.serving)

    def _new_destination(self, service: str) -> Destination:
        plan = self._plan(service)
        config = plan.map(lambda value: self._config(service, value))
        guards = Guards(service, self._clock, self._rng, config.value, LoggedCircuits())
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
        plan = self._plan(service)
        resolution = self._source.endpoints(service)
        config = self._config(service, plan.value)
        upstream = Upstream(service, self._clock, self._rng, config, self._caller.here)

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

    def _plan(self, service: str) -> Watch[ServicePlan]:
        if service not in self._plans:
            self._plans[service] = self._follow(service, self._source.documents(service))
        return self._plans[service]

    def _follow(self, service: str, documents: Watch[tuple[Document, ...]]) -> Watch[ServicePlan]:
        """The plan the documents make; while they make none, the last one that was good."""
        plan = Watch(compile_plan(service, (), self._caller))

        def compile_them() -> None:
            try:
                plan.set(compile_plan(service, documents.value, self._caller))
            except ConfigError as exc:
                self._refused(service, exc)
                plan.set(plan.value)

        documents.subscribe(compile_them)
        return plan

    def _refused(self, service: str, error: ConfigError) -> None:
        _log.error("documents of %s are not used, the last good ones stay: %s", service, error)
        if self._listener is not None:
            kind = error.path.partition("/")[0]
            self._listener.document_refused(kind, service, error)
