"""
The client stack: THE ORDER of the layers, and why each stands where it stands.

The layers are pushed from the outside in; a request passes them from top to bottom, its reply
from bottom to top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshlib.balance.upstream import Upstream
from meshlib.config import UpstreamConfig
from meshlib.observe.events import Listener, Tracer
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import RouteTable
from meshlib.runtime import Runtime
from meshlib.stack.attempt import OneAttempt
from meshlib.stack.balance import Balance
from meshlib.stack.deadline import Deadline
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
    """The upstream of any service: a route may lead to another one."""
    backoff: Watch[Backoff]
    budget: Watch[RetryBudget]
    """Shared by all clients of this process, so that their retries add up."""


def client_stack(
    destination: Destination,
    engine: AttemptService,
    *,
    runtime: Runtime,
    tracer: Tracer,
    listener: Listener,
) -> CallService:
    """The service that calls `destination` through all layers, over `engine`."""
    to = destination

    # Observe is outermost.  A call that is refused, runs out of time or finds no route is still a
    # call the user made: whatever any layer beneath decides must be seen here, once.
    observe = Observe(runtime, tracer, listener)

    # Deadline comes next, above everything that takes time: waiting for discovery, every attempt
    # and every pause between two of them spend from the same allowance.
    deadline = Deadline(runtime, to.config)

    # Route stands above retry: which version a call goes to is decided once.  A retry that drew
    # the split again would spread a failing canary's calls over everybody and blur the split.
    route = Route(runtime, to.table)

    # Retry turns the call into attempts.  It stands above balance, so that every attempt picks
    # anew and can avoid the endpoints that were tried.
    retry = Retry(runtime, to.config, to.backoff, to.budget)

    # Balance picks the endpoint and keeps the pick until the reply's last byte.  It stands right
    # above the attempt, as what it must learn is how that endpoint did: no pause, no other layer
    # may come between picking an endpoint and using it.
    balance = Balance(runtime, to.upstream)

    # The attempt is innermost: one span, one limit of time and one verdict for exactly what
    # happens on the wire.
    attempt = OneAttempt(runtime, to.config, tracer, listener)

    return observe(deadline(route(retry(balance(attempt(engine))))))
