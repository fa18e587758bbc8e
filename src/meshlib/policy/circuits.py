"""The circuits of one service, by method."""

from __future__ import annotations

import threading

from meshlib.config import CircuitConfig
from meshlib.model import Call
from meshlib.policy.circuit import Circuit, CircuitListener, Silence
from meshlib.runtime import Clock, Rng

MOST = 100
"""Circuits of one service.  What methods exist is for callers to say, so there must be an end;
those beyond it share one (gRPC's metrics call the rest "other" too)."""

OTHER = "other"


def method_of(call: Call) -> str:
    """The method as the protocol has it: gRPC's is the path, HTTP's the verb."""
    if call.headers.get("content-type", "").startswith("application/grpc"):
        return call.path
    return call.method


class Circuits:
    """Made one by one, when a method is first called."""

    def __init__(
        self,
        service: str,
        clock: Clock,
        rng: Rng,
        config: CircuitConfig,
        listener: CircuitListener | None = None,
    ) -> None:
        self._service, self._clock, self._rng, self._config = service, clock, rng, config
        self._listener = listener or Silence()
        self._lock = threading.Lock()
        self._by_method: dict[str, Circuit] = {}

    def of(self, method: str) -> Circuit:
        """The circuit of a method."""
        found = self._by_method.get(method)
        return found or self._new(method)

    def all(self) -> tuple[Circuit, ...]:
        """Those made so far, for introspection and to be set by hand."""
        return tuple(self._by_method.values())

    def configure(self, config: CircuitConfig) -> None:
        """Use other settings; what each circuit learned stays."""
        with self._lock:
            self._config = config
            circuits = self.all()
        for circuit in circuits:
            circuit.configure(config)

    def _new(self, method: str) -> Circuit:
        with self._lock:
            if len(self._by_method) >= MOST:
                method = OTHER
            found = self._by_method.get(method)
            if found is None:
                name = f"{self._service} {method}"
                found = Circuit(name, self._clock, self._rng, self._config, self._listener)
                self._by_method[method] = found
            return found

    def __repr__(self) -> str:
        return f"<Circuits of {self._service!r}: {len(self._by_method)}>"
