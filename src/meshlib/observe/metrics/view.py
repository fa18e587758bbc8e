"""What is counted of this process's view: of others, of the control plane and of itself."""

from __future__ import annotations

from meshlib.errors import ConfigError
from meshlib.model import Endpoint
from meshlib.observe.metrics.registry import Registry
from meshlib.observe.quiet import Quiet


class ViewMetrics(Quiet):
    """Breakers, circuits, stalls, documents and the control plane."""

    def __init__(self, registry: Registry) -> None:
        self._endpoints = registry.counter(
            "endpoint_breaker_transitions_total",
            "Moves of the breakers of endpoints, by the state they moved to.",
            ("service", "to"),
            free=("service",),
        )
        self._circuits = registry.counter(
            "circuit_transitions_total",
            "Moves of the circuits of methods, by the state they moved to.",
            ("service", "method", "to"),
            free=("service", "method"),
        )
        self._stalls = registry.counter(
            "stalls_total", "How often this process, or one of its event loops, stood still."
        )
        self._stalled = registry.counter("stalled_seconds_total", "For how long all in all.")
        self._documents = registry.counter(
            "documents_refused_total",
            "Documents that could not be used; the last good ones stayed in force.",
            ("kind", "name"),
            free=("kind", "name"),
        )
        self._control = registry.counter(
            "control_events_total",
            "What happened between this process and its control plane.",
            ("kind",),
            free=("kind",),
        )

    def endpoint_moved(self, service: str, endpoint: Endpoint, before: str, after: str) -> None:
        """The breaker of an endpoint moved."""
        self._endpoints.add((service, after))

    def circuit_moved(self, service: str, method: str, before: str, after: str) -> None:
        """The circuit of a method moved."""
        self._circuits.add((service, method, after))

    def process_stalled(self, seconds: float) -> None:
        """This process stood still."""
        self._stalls.add(())
        self._stalled.add((), seconds)

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """A document cannot be used."""
        self._documents.add((kind, name))

    def control_event(self, kind: str, subject: str, text: str) -> None:
        """Something happened between this process and its control plane."""
        self._control.add((kind,))
