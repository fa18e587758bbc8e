"""
What this process knows of the services it calls.

A service becomes a `Destination` on its first call: its documents are followed and compiled into a
route table and settings, its endpoints into an `Upstream`.  From then on the control plane's
watches keep both up to date, and no request waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

from meshlib.balance.upstream import Upstream
from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.control.circuits import ToldCircuits
from meshlib.control.one_at_a_time import OneAtATime
from meshlib.control.plan import ServicePlan
from meshlib.control.plans import Plans
from meshlib.control.registry import ConfigSource, Discovery
from meshlib.control.routes import NOBODY, Caller
from meshlib.model import Target
from meshlib.observe.events import Listener
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.policy.guards import Guards
from meshlib.route.filter import Filter
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
        self._followed: set[str] = set()
        """Services whose plans are passed on ..."""
        self._configure: dict[str, OneAtATime] = {}
        """... to these, by the name of the upstream."""
        self._upstreams: dict[str, Upstream] = {}
        self._destinations: dict[str, Destination] = {}

    def destination(self, service: str) -> Destination:
        """What callers name `service`."""
        found = self._destinations.get(service)
        if found is not None:
            return found
        with self._lock:
            return self._destinations.get(service) or self._new_destination(service)

    def upstream(self, name: str) -> Upstream:
        """The endpoints of a service, and what was learned of them.

        The name is a `Target.upstream`: a service, or `service@datacenter`.
        """
        found = self._upstreams.get(name)
        if found is not None:
            return found
        with self._lock:
            return self._upstreams.get(name) or self._new_upstream(name)

    def upstreams(self) -> tuple[Upstream, ...]:
        """All that were called so far, for introspection."""
        return tuple(self._upstreams.values())

    def destinations(self) -> tuple[Destination, ...]:
        """The same, as callers name them."""
        return tuple(self._destinations.values())

    def failover(self, target: Target, service: str = "") -> tuple[Target, ...]:
        """Where calls to `target` go when nobody there works, in order.

        What is known with `service`, which they were meant for, counts more than what is known
        with the target's own.
        """
        plans = (self._plans.known(name) for name in (service, target.service))
        lists = (plan.instead_of(target) for plan in plans if plan is not None)
        return next(filter(None, lists), ())

    def serving(self, service: str) -> Watch[ServingConfig]:
        """What documents say `service` is to let in."""
        return self._plans.plan(service).map(lambda plan: plan.serving)

    def spiffe_id(self, service: str) -> Watch[str]:
        """What instances of `service` must prove, as far as documents or settings say it."""
        with self._lock:
            plan = self._plan(service)
        return plan.map(lambda value: self._config(service, value).connect.spiffe_id)

    def _plan(self, service: str) -> Watch[ServicePlan]:
        """The plan of a service; what it says of endpoints is passed on before anybody calls them.

        A call must not be led to a subset that its upstream has not heard of.
        """
        plan = self._plans.plan(service)
        if service not in self._followed:
            self._followed.add(service)
            plan.subscribe(lambda: self._pass_on(plan.value))
        return plan

    def _pass_on(self, plan: ServicePlan) -> None:
        """No lock is held: this is called by whoever hears of the documents."""
        about = {plan.service, *plan.foreign}
        for name, configure in tuple(self._configure.items()):
            if _service_of(name) in about:
                configure()

    def _subsets(self, own: ServicePlan) -> dict[str, Filter]:
        """Those of a service, as far as anybody's plan knows them."""
        plans = map(self._plans.known, tuple(self._followed))
        subsets: dict[str, Filter] = {}
        for plan in filter(None, plans):
            subsets.update(plan.foreign.get(own.service, {}))
        return {**subsets, **own.subsets}

    def _new_destination(self, service: str) -> Destination:
        plan = self._plan(service)
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
            failover=partial(self.failover, service=service),
            fallback=self._fallbacks.get(service),
        )
        return new

    def _new_upstream(self, name: str) -> Upstream:
        service, _, datacenter = name.partition("@")
        plan, place = self._plan(service), (datacenter,) if datacenter else ()
        resolution = self._source.endpoints(service, *place)
        config = self._config(service, plan.value)
        upstream = Upstream(name, self._clock, self._rng, config, self._caller.here, self._listener)

        def configure() -> None:
            upstream.configure(self._config(service, plan.value))
            subsets = self._subsets(plan.value)
            upstream.set_subsets(subsets, default=plan.value.default_subset)

        self._configure[name] = OneAtATime(configure)
        self._configure[name]()
        resolution.subscribe(lambda: upstream.update(resolution.value))
        self._upstreams[name] = upstream
        return upstream

    def _config(self, service: str, plan: ServicePlan) -> UpstreamConfig:
        """What the program says in code beats what the documents say."""
        return self._overrides.get(service, plan.config)


def _service_of(upstream: str) -> str:
    return upstream.partition("@")[0]
