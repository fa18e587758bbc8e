"""
Why a call went the way it did, or would go: the whole decision in one value.

It is made after the fact, from what the layers wrote into the call and what the policies know now,
so that a call that succeeds pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from meshlib.balance.load import EndpointState
from meshlib.balance.upstream import Upstream
from meshlib.config import UpstreamConfig
from meshlib.model import Call, Endpoint, Target
from meshlib.policy.budget import RetryBudget
from meshlib.policy.circuits import Circuits, method_of
from meshlib.route.table import Route, RouteTable
from meshlib.runtime import Clock

SHOWN = 10
"""Candidates that are listed; of thousands nobody reads more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One endpoint, as a balancer would see it now."""

    endpoint: Endpoint
    breaker: str
    """`closed`, `open` or `half-open`."""
    pending: int
    """Requests of this process that it has not answered yet."""
    latency: float | None
    """Seconds the balancer expects of it; None when the balancer does not ask."""
    tried: bool
    """Whether this call went there."""

    def __str__(self) -> str:
        latency = "" if self.latency is None else f", expected {_time(self.latency)}"
        tried = ", tried" if self.tried else ""
        load = f"{self.pending} pending{latency}{tried}"
        return f"{self.endpoint} weight {self.endpoint.weight}: breaker {self.breaker}, {load}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision about one call.  As text, it is a few lines for a tired reader."""

    service: str
    method: str
    path: str
    route: str
    """The name of the route that takes it."""
    legs: tuple[tuple[Target, float], ...]
    """Where that route leads, with the share of each in percent."""
    target: Target
    """Which of them it is, for a call that was made; else the only or the stuck one, or any."""
    resolution: str
    """What discovery says of the target's service, in one word."""
    candidates: tuple[Candidate, ...]
    """At most `SHOWN` of them ..."""
    known: int
    """... of so many."""
    attempts: int
    """How many were made."""
    allowed: int
    """How many the policy allows."""
    stopped: str
    """Why there were no more; empty if nothing stopped them."""
    budget: float
    """Retries that all calls to the service may make now."""
    circuit: str
    """The state of the circuit of this method; empty without one."""
    time_left: float | None
    """Seconds to the deadline; None for a call that was not made."""

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """One fact a line."""
        legs = ", ".join(f"{target} {share:g} %" for target, share in self.legs)
        yield f"{self.method} http://{self.service}{self.path}"
        yield f"  route {self.route!r}: {legs}"
        yield f"  target {self.target}: {self.resolution}, {self.known} candidates"
        for candidate in self.candidates:
            yield f"    {candidate}"
        if self.known > len(self.candidates):
            yield f"    and {self.known - len(self.candidates)} more"
        stopped = f"; no more because {self.stopped}" if self.stopped else ""
        yield f"  attempts: {self.attempts} of {self.allowed}{stopped}"
        circuit = f"; circuit {self.circuit}" if self.circuit else ""
        yield f"  retry budget: {self.budget:.3g} left{circuit}"
        if self.time_left is not None:
            yield f"  deadline: {self.time_left:.3g} s left"


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains calls to one destination."""

    table: Callable[[], RouteTable]
    config: Callable[[], UpstreamConfig]
    upstream: Callable[[str], Upstream]
    budget: Callable[[], RetryBudget]
    circuits: Callable[[], Circuits | None]
    clock: Clock

    def __call__(self, call: Call) -> Explanation:
        """What was, or would be, decided about `call`."""
        route = self._route(call)
        legs = tuple((leg.target, leg.weight) for leg in route.split.legs)
        target = call.target or legs[0][0]
        upstream, now = self.upstream(target.upstream), self.clock()
        members = upstream.members(target.subset, call.protocol)
        retry = call.rules.retry if call.rules is not None else None
        return Explanation(
            service=call.service,
            method=call.method,
            path=call.path,
            route=call.route or route.name,
            legs=legs,
            target=target,
            resolution=type(upstream.resolution).__name__.lower(),
            candidates=tuple(_candidate(state, call, now) for state in members[:SHOWN]),
            known=len(members),
            attempts=call.attempts,
            allowed=(retry or self.config().retry).attempts,
            stopped=call.stopped,
            budget=self.budget().balance,
            circuit=self._circuit(call),
            time_left=call.deadline - now if call.attempts else None,
        )

    def _route(self, call: Call) -> Route:
        """The route that was taken, by its name: a matcher of the user's is not asked twice."""
        table = self.table()
        taken = (route for route in table.routes if route.name == call.route)
        return next(taken, None) or table.match(call)

    def _circuit(self, call: Call) -> str:
        circuits = self.circuits()
        return "" if circuits is None else circuits.of(method_of(call)).state.value


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _candidate(state: EndpointState, call: Call, now: float) -> Candidate:
    latency = state.latency
    return Candidate(
        endpoint=state.endpoint,
        breaker=state.breaker.state.value,
        pending=state.pending,
        latency=None if latency is None else latency.read(now),
        tried=state.endpoint in call.tried,
    )
