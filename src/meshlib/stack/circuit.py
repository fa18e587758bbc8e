"""Refuses calls that would most likely fail."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from meshlib.errors import Rejected
from meshlib.model import Call, Reply
from meshlib.policy.circuit import Circuit, CircuitState
from meshlib.policy.circuits import method_of
from meshlib.policy.classify import classify
from meshlib.policy.guards import Guards
from meshlib.runtime import Runtime
from meshlib.stack.service import CallService


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Asks the circuit of the call's method for leave, and reports: also when cancelled."""

    runtime: Runtime
    guards: Guards

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        clock, guards = self.runtime.clock, self.guards

        async def guarded(call: Call, circuit: Circuit) -> Reply:
            permit = circuit.acquire()
            if permit is None:
                raise _refused(call, circuit)
            began = clock()
            outcome: Reply | BaseException | None = None
            try:
                outcome = await inner(call)
            except BaseException as exc:
                outcome = exc
                raise
            finally:
                if outcome is not None:
                    circuit.report(permit, classify(call, outcome), clock() - began)
            return outcome

        def circuit_breaker(call: Call) -> Coroutine[Any, Any, Reply]:
            circuits = guards.circuits
            return inner(call) if circuits is None else guarded(call, circuits.of(method_of(call)))

        return circuit_breaker


def _refused(call: Call, circuit: Circuit) -> Rejected:
    forced = circuit.state is CircuitState.FORCED_OPEN
    why = (
        "it was opened by hand"
        if forced
        else f"too many calls failed; it asks again in {circuit.wait:.1f} s"
    )
    return Rejected(
        f"{call.method} http://{call.service}{call.path} was not sent: its circuit is open",
        by="breaker",
        why=why,
        hint=f"see the health of {call.service!r}, and Circuit in its traffic-policy",
    )
