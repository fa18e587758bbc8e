"""What is counted of the requests this process serves."""

from __future__ import annotations

from collections.abc import Iterator

from meshlib.observe.events import Inbound
from meshlib.observe.metrics.family import Labels
from meshlib.observe.metrics.registry import Registry
from meshlib.observe.metrics.series import Counter
from meshlib.observe.metrics.words import of_status
from meshlib.observe.quiet import Quiet


class ServingMetrics(Quiet):
    """The server side.  `trees` is common to both sides."""

    def __init__(self, registry: Registry, trees: Counter) -> None:
        self._trees = trees
        self._alone: dict[str, bool] = {}
        self._requests = registry.histogram(
            "request_duration_seconds",
            "Requests served, from their head to the last byte of the answer.",
            ("service", "caller", "outcome"),
            free=("caller",),
        )
        self.arrived = registry.counter(
            "requests_arrived_total",
            "Requests that belong to a tree of calls which began in another process.",
        )
        self._refused = registry.counter(
            "requests_refused_total",
            "Requests that the mesh answered in place of the application.",
            ("service", "by"),
        )
        self._denied = registry.counter(
            "requests_denied_total",
            "Requests that the intentions do not allow; let in unless enforced.",
            ("service", "caller", "rule", "enforced"),
            free=("caller", "rule"),
        )
        self._lost = registry.counter(
            "rate_limit_store_losses_total",
            "How often the store of the shared rates was lost.",
            ("service",),
        )
        registry.gauge(
            "rate_limit_store_down",
            "1 while this process counts the shared rates alone.",
            ("service",),
            self._stores,
        )

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """A served request ended."""
        word = of_status(status) if status else "gone"
        self._requests.observe((service, inbound.caller, word), seconds)
        if inbound.edge:
            self._trees.add(("edge",))
        elif not inbound.continued:
            self._trees.add(("stranger",))
        else:
            self.arrived.add(())

    def request_refused(self, service: str, by: str, status: int) -> None:
        """A request was answered by the mesh."""
        self._refused.add((service, by))

    def request_denied(self, service: str, inbound: Inbound, rule: str, *, enforced: bool) -> None:
        """The intentions do not allow a request."""
        self._denied.add((service, inbound.caller, rule, "true" if enforced else "false"))

    def rates_counted(self, service: str, *, alone: bool) -> None:
        """The shared rates are counted alone, or together again."""
        self._alone[service] = alone
        if alone:
            self._lost.add((service,))

    def _stores(self) -> Iterator[tuple[Labels, float]]:
        return (((service,), int(alone)) for service, alone in tuple(self._alone.items()))
