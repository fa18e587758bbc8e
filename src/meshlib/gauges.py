"""What a mesh knows now, read when somebody looks: nothing is made for being looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from meshlib.model import Neg
from meshlib.observe.metrics.family import Reading
from meshlib.observe.metrics.registry import Registry
from meshlib.policy.circuit import CircuitState

if TYPE_CHECKING:
    from meshlib.balance.upstream import Upstream
    from meshlib.policy.concurrency import ConcurrencyLimit
    from meshlib.policy.shed import Shedder
    from meshlib.stack.client import Destination
    from meshlib.trust.bundle import Credentials
    from meshlib.watch import Watch


class Directory(Protocol):
    """Of `control.directory`, what is looked at here."""

    def upstreams(self) -> Iterable[Upstream]:
        """Services that were called."""

    def destinations(self) -> Iterable[Destination]:
        """The same, as callers name them."""


class Gate(Protocol):
    """Of `serve.limits`, what is looked at here."""

    concurrency: ConcurrencyLimit | None
    shedder: Shedder | None


class Known:
    """Looks into `made`, the cached properties of a mesh, for what there is so far."""

    def __init__(
        self, service: str, version: str, instance: Callable[[], str], made: Mapping[str, Any]
    ) -> None:
        self.service, self.version, self.instance = service, version, instance
        self._made = made

    def upstreams(self) -> Iterable[Upstream]:
        """Services that were called, without names somebody made up: they would crowd them out."""
        directory: Directory | None = self._made.get("_directory")
        known = directory.upstreams() if directory is not None else ()
        return (each for each in known if not isinstance(each.resolution, Neg))

    def destinations(self) -> Iterable[Destination]:
        """The same, as callers name them; a route may lead from such a name to other services."""
        directory: Directory | None = self._made.get("_directory")
        if directory is None:
            return ()
        said = {each.service: each.resolution for each in directory.upstreams()}
        known = directory.destinations()
        return (each for each in known if not isinstance(said.get(each.service), Neg))

    def credentials(self) -> Credentials | None:
        """This service's certificate."""
        watch: Watch[Credentials] | None = self._made.get("credentials")
        return None if watch is None else watch.value

    def age(self, service: str) -> float | None:
        """Seconds since the control plane last confirmed what it says of a service."""
        ask: Callable[[str], float | None] | None = getattr(self._made.get("control"), "age", None)
        return None if ask is None else ask(service)

    def overdue(self) -> bool | None:
        """Whether this service's certificate should have been renewed and was not; None: unknown.

        Who renews decides, and only the embedded control plane does so itself.
        """
        ask: Callable[[str], bool] | None = getattr(self._made.get("control"), "overdue", None)
        return None if ask is None or self.credentials() is None else ask(self.service)

    def gate(self) -> Gate | None:
        """How much is let in."""
        gate: Gate | None = self._made.get("_gate")
        return gate


def add_gauges(registry: Registry, known: Known) -> None:
    """Add the gauges of one mesh."""
    _add_upstreams(registry, known)
    _add_destinations(registry, known)
    _add_own(registry, known)


def _add_upstreams(registry: Registry, known: Known) -> None:
    def endpoints() -> Reading:
        for upstream in known.upstreams():
            states = Counter(state.breaker.state.value for state in upstream.states())
            for state in ("closed", "open", "half-open"):
                yield (upstream.service, state), states[state]

    def pending() -> Reading:
        for upstream in known.upstreams():
            yield (upstream.service,), sum(state.pending for state in upstream.states())

    def panicking() -> Reading:
        return (((each.service,), int(each.panicking)) for each in known.upstreams())

    def ages() -> Reading:
        for upstream in known.upstreams():
            age = known.age(upstream.service)
            if age is not None:
                yield (upstream.service,), age

    service = ("service",)
    registry.gauge(
        "endpoints", "Endpoints known, by their breaker's state.", ("service", "state"), endpoints
    )
    registry.gauge("attempts_pending", "Attempts that have not ended.", service, pending)
    registry.gauge(
        "panicking", "1 while so many endpoints fail that all are used.", service, panicking
    )
    registry.gauge(
        "snapshot_age_seconds",
        "Time since the control plane last confirmed what is known of a service.",
        service,
        ages,
    )


def _add_destinations(registry: Registry, known: Known) -> None:
    def budgets() -> Reading:
        return (((each.service,), each.budget.value.balance) for each in known.destinations())

    def circuits() -> Reading:
        for each in known.destinations():
            made = each.guards.circuits if each.guards is not None else None
            if made is not None:
                states = Counter(circuit.state for circuit in made.all())
                for state in CircuitState:
                    yield (each.service, state.value), states[state]

    registry.gauge(
        "retry_budget", "Retries that may be made now, over all calls.", ("service",), budgets
    )
    registry.gauge("circuits", "Circuits of methods, by state.", ("service", "state"), circuits)
    registry.gauge(
        "concurrency_limit",
        "How many may be under way: calls to a service, or requests served.",
        ("service", "side"),
        lambda: (((name, side), limit.limit) for name, side, limit in _limits(known)),
    )
    registry.gauge(
        "concurrency_in_flight",
        "How many of these are.",
        ("service", "side"),
        lambda: (((name, side), limit.in_flight) for name, side, limit in _limits(known)),
    )


def _limits(known: Known) -> Iterable[tuple[str, str, ConcurrencyLimit]]:
    for each in known.destinations():
        limit = each.guards.concurrency if each.guards is not None else None
        if limit is not None:
            yield each.service, "client", limit
    gate = known.gate()
    if gate is not None and gate.concurrency is not None:
        yield known.service, "server", gate.concurrency


def _shedder(known: Known) -> Shedder | None:
    gate = known.gate()
    return None if gate is None else gate.shedder


def _add_own(registry: Registry, known: Known) -> None:
    service = ("service",)
    registry.gauge(
        "info",
        "1, with what this process is.",
        ("service", "instance", "version"),
        lambda: (((known.service, known.instance(), known.version), 1),),
    )
    registry.gauge(
        "shed_line",
        "Requests of a priority below it are served; 8 when nothing is shed.",
        service,
        lambda: _if_any(known.service, _shedder(known), lambda shedder: shedder.line),
    )
    registry.gauge(
        "certificate_not_before_timestamp_seconds",
        "Since when this service's certificate is valid; Unix time.",
        service,
        lambda: _if_any(known.service, known.credentials(), lambda it: it.leaf.not_before),
    )
    registry.gauge(
        "certificate_not_after_timestamp_seconds",
        "Until when this service's certificate is valid; Unix time.",
        service,
        lambda: _if_any(known.service, known.credentials(), lambda it: it.leaf.not_after),
    )
    registry.gauge(
        "certificate_overdue",
        "1 when this service's certificate should have been renewed already, and was not.",
        service,
        lambda: _if_any(known.service, known.overdue(), int),
    )


T = TypeVar("T")


def _if_any(service: str, what: T | None, read: Callable[[T], float]) -> Reading:
    return () if what is None else (((service,), read(what)),)
