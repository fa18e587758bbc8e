"""
Whom to draw from when some endpoints fail: seen over all of them, not one at a time.

A breaker knows one endpoint.  Taking it out of the draw sends its traffic to the others, so how
many may be out at a time is decided here:

1. At most `max_ejected` of the endpoints, and never the last one.  Of those whose breakers are not
   closed the worst are taken out: first who cannot be connected to, then who has failed longest.
2. Who must stay in although it fails is drawn less: with `bias` times its weight.
3. Of fewer than `min_endpoints` none is taken out.
4. Panic: with fewer than `panic` of the endpoints well, it is the load or the view that is wrong,
   and the few that are left would be overrun next.  All that answer are drawn from, whatever they
   answer.  An endpoint that cannot be connected to takes no load off the others, so rule 1 goes on
   holding for it (Envoy draws from it as well).  Off for `SMALL` endpoints or fewer.
5. If nobody is well, all are drawn from, as in Finagle: to refuse every call is no better than to
   try.

The endpoints meant are those that traffic is balanced over: with subsets, the subset's.  Envoy and
Consul make each subset a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshlib.balance.load import EndpointState
from meshlib.config import OutlierConfig
from meshlib.policy.breaker import State

SMALL = 3
"""One failing endpoint of three is no reason to doubt the view."""

States = Sequence[EndpointState]


@dataclass(frozen=True, slots=True)
class View:
    """What is made of the endpoints' breakers."""

    drawn: States
    """With their whole weight."""
    biased: States
    """With a share of it."""
    waiting: States
    """All whose breakers are not closed: to be probed."""
    doubted: bool = False
    """Whether the breakers were overruled: rules 4 and 5."""


def view_of(states: States, config: OutlierConfig) -> View:
    """Whom to draw from, as their breakers stand now."""
    well = State.CLOSED
    standing = [(state, state.breaker.state is well) for state in states]
    waiting = [state for state, closed in standing if not closed]
    if not waiting:
        return View(states, (), ())
    if len(waiting) == len(states):
        return View(states, (), waiting, doubted=True)
    drawn = [state for state, closed in standing if closed]
    panicking = in_panic(len(drawn), len(states), config)
    failing = waiting
    if panicking:
        drawn += [state for state in waiting if not state.breaker.unreachable]
        failing = [state for state in waiting if state.breaker.unreachable]
    biased = _worst_first(failing)[most_ejected(len(states), config) :]
    return View(drawn, biased, waiting, doubted=panicking)


def in_panic(well: int, known: int, config: OutlierConfig) -> bool:
    """Whether so few are well that the view is doubted."""
    return known > SMALL and well < config.panic * known


def most_ejected(known: int, config: OutlierConfig) -> int:
    """How many of so many may be out at a time."""
    if known < config.min_endpoints:
        return 0
    return min(int(config.max_ejected * known + 1e-9), known - 1)


def _worst_first(states: States) -> list[EndpointState]:
    return sorted(
        states, key=lambda state: (not state.breaker.unreachable, -state.breaker.cooldown)
    )
