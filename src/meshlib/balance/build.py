"""
Which endpoints a picker draws from.

1. Weight 0 means no traffic, unless all have it: then they are equal.
2. Endpoints whose breaker is not closed are left out, and probed one request at a time.
3. If that leaves nobody, all are drawn from.  Finagle's balancers fail open in the same way: when
   everything looks broken, the view may be what is broken, and refusing every call is no better
   than trying.  Probes go on meanwhile, and the first to succeed has the traffic to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from meshlib.balance.least_request import LeastRequest
from meshlib.balance.load import EndpointState
from meshlib.balance.picker import NothingToPick, Picker
from meshlib.balance.probing import Probing
from meshlib.balance.round_robin import RoundRobin
from meshlib.policy.breaker import State
from meshlib.runtime import Clock, Rng

BALANCERS: Mapping[str, Callable[[Sequence[EndpointState], Rng], Picker]] = MappingProxyType(
    {"least_request": LeastRequest, "round_robin": RoundRobin}
)
"""By the names that `UpstreamConfig.balancer` accepts."""


def build_picker(balancer: str, members: Sequence[EndpointState], clock: Clock, rng: Rng) -> Picker:
    """The picker for `members` as their breakers stand now."""
    if not members:
        return NothingToPick()
    weighted = [state for state in members if state.endpoint.weight > 0] or members
    standing = [(state, state.breaker.state is State.CLOSED) for state in weighted]
    closed = [state for state, is_closed in standing if is_closed]
    waiting = [state for state, is_closed in standing if not is_closed]
    picker = BALANCERS[balancer](closed or weighted, rng)
    return Probing(picker, waiting, clock) if waiting else picker
