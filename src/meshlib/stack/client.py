"""
The client stack: THE ORDER of the layers, and why each stands where it stands.

The layers are pushed from the outside in; a request passes them from top to bottom, its reply
from bottom to top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from meshlib.balance.upstream import Upstream
from meshlib.config import UpstreamConfig
from meshlib.model import Target
from meshlib.observe.events import Listener, Tracer
from meshlib.policy.adaptive import Latencies
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.policy.guards import Guards
from meshlib.policy.stall import StallMeter
from meshlib.route.table import RouteTable
from meshlib.runtime import Clock, Runtime
from meshlib.stack.attempt import OneAttempt
from meshlib.stack.balance import Balance, no_failover
from meshlib.stack.circuit import CircuitBreaker
from meshlib.stack.deadline import Deadline
from meshlib.stack.explain import Explainer
from meshlib.stack.fallback import Fallback, InCode
from meshlib.stack.fault import Fault
from meshlib.stack.hedge import Hedge
from meshlib.stack.limit import Limit, OnTheWire
from meshlib.stack.mirror import Mirror
from meshlib.stack.observe import Observe
from meshlib.stack.retry import Retry
from meshlib.stack.route import Route
from meshlib.stack.service import AttemptService, CallService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Destination:
    """A service as callers name it, and what the control plane says of it."""

    service: str
    config: Watch[UpstreamConfig]
    table: Watch[RouteTable]
    upstream: Callable[[str], Upstream]
    """The upstream of any `Target.upstream`: a route may lead to another service."""
    backoff: Watch[Backoff]
    budget: Watch[RetryBudget]
    """Shared by all clients of this process, so that their retries add up."""
    latencies: Latencies = field(default_factory=Latencies)
    """Of recent attempts, for who wants to know what is unusual: counted while somebody does."""
    guards: Guards | None = None
    """Limits and circuits, shared by all clients too; None: made of the configuration as it is."""
    failover: Callable[[Target], tuple[Target, ...]] = no_failover
    """Where to go instead of a target that has nobody, in order."""
    fallback: InCode | None = None
    """The program's own answer to an error."""


def explainer(to: Destination, clock: Clock) -> Explainer:
    """Explains calls to a destination."""
    return Explainer(
        table=lambda: to.table.value,
        config=lambda: to.config.value,
        upstream=to.upstream,
        budget=lambda: to.budget.value,
        circuits=lambda: None if to.guards is None else to.guards.circuits,
        clock=clock,
    )


def client_stack(
    destination: Destination,
    engine: AttemptService,
    *,
    runtime: Runtime,
    tracer: Tracer,
    listener: Listener,
    stalls: StallMeter | None = None,
) -> CallService:
    """The service that calls `destination` through all layers, over `engine`.

    `stalls` knows when the thread or loop that the engine works in stood still.
    """
    to, stalls = destination, stalls or StallMeter()

    # Observe is outermost.  A call that is refused, runs out of time or finds no route is still a
    # call the user made: whatever any layer beneath decides must be seen here, once.
    observe = Observe(runtime, tracer, listener, explainer(to, runtime.clock))

    # Fallback is next to it: it stands in for whatever error the caller would get, so it must be
    # above all that raise one, and beneath observe, which shall see what the caller sees.
    fallback = Fallback(to.table, to.fallback)

    # Deadline comes next, above everything that takes time: waiting for discovery, every attempt
    # and every pause between two of them spend from the same allowance.
    deadline = Deadline(runtime, to.config)

    # Route stands above retry: which version a call goes to is decided once.  A retry that drew
    # the split again would spread a failing canary's calls over everybody and blur the split.
    route = Route(runtime, to.table)

    # Limit stands above the circuit and above retry.  What is refused here costs nothing further
    # down, and is no failure of the service that a circuit should count; one call is one call to a
    # rate limit, however many attempts it takes.
    # The circuit stands above retry too: it judges what the caller gets, so a failure that a retry
    # made good is none, and while it is open nothing is tried, let alone tried again.
    #
    # OnTheWire stands beneath hedge, as every racer needs a connection of its own, and above
    # balance: it may have to wait, and a pick must not be kept waiting.
    guards = to.guards or Guards(to.service, runtime.clock, runtime.rng, to.config.value)
    limit, circuit = Limit(runtime, guards), CircuitBreaker(runtime, guards)
    on_the_wire = OnTheWire(runtime, guards)

    # Fault stands beneath limit and circuit, so that one can watch them at work, and above all that
    # sends: what it aborts is not sent, not mirrored, and not retried away (Envoy has its fault
    # filter above the router, which retries).
    fault = Fault(runtime)

    # Mirror stands right above retry: one copy a call, of those that are sent at all, however many
    # attempts they take.  Its copies go past retry and hedge, for they are never repeated, and past
    # the limits: these protect the service that is called, a copy goes to another one, and how many
    # there are at a time is bounded by the runtime.  They have an attempt layer of their own, as
    # how fast they are answered says nothing of what is usual here.
    aside = OneAttempt(runtime, to.config, tracer, listener, stalls=stalls)
    mirror = Mirror(runtime, listener, Balance(runtime, to.upstream, listener)(aside(engine)))

    # Retry turns the call into attempts.  It stands above balance, so that every attempt picks
    # anew and can avoid the endpoints that were tried.
    retry = Retry(runtime, to.config, to.backoff, to.budget, listener)

    # Hedge stands between the two: what races are attempts, each with an endpoint of its own, while
    # retry sees one outcome and goes by its rules, whichever of the two it came from.
    hedge = Hedge(runtime, to.config, to.budget, to.latencies, listener)

    # Balance picks the endpoint and keeps the pick until the reply's last byte.  It stands right
    # above the attempt, as what it must learn is how that endpoint did: no pause, no other layer
    # may come between picking an endpoint and using it.
    balance = Balance(runtime, to.upstream, listener, to.failover)

    # The attempt is innermost: one span, one limit of time and one verdict for exactly what
    # happens on the wire.
    attempt = OneAttempt(runtime, to.config, tracer, listener, to.latencies, stalls)

    attempts = hedge(on_the_wire(balance(attempt(engine))))
    sent = fault(mirror(retry(attempts)))
    return observe(fallback(deadline(route(limit(circuit(sent))))))
