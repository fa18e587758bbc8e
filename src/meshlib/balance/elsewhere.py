"""
For retries that shall leave the localities they have tried: pickers over who stands elsewhere.

To draw again until somebody from elsewhere comes up is not enough: where near endpoints come first,
nobody else may have a share at all.  So there is a picker over those who stand in other localities
and are well.  It is made when the first call asks for it, as most never do, and kept for as long as
the upstream's own pickers: until an endpoint comes, goes, breaks or recovers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Picker
from meshlib.model import Endpoint, Locality
from meshlib.policy.breaker import State

MOST = 16
"""Pickers kept: calls that have tried the same localities share one."""


class Elsewhere:
    """Pickers by the localities that were tried; `build` makes one."""

    __slots__ = ("_build", "_made", "_states")

    def __init__(
        self, states: Sequence[EndpointState], build: Callable[[Sequence[EndpointState]], Picker]
    ) -> None:
        self._states, self._build = states, build
        self._made: dict[frozenset[Locality], Picker | None] = {}

    def picker(self, tried: Sequence[Endpoint]) -> Picker | None:
        """The picker over those who stand where none of `tried` does; None: nobody there is well.

        Two threads may make the same one; either will do.
        """
        left = frozenset(endpoint.locality for endpoint in tried)
        try:
            return self._made[left]
        except KeyError:
            made = self._new(left)
        if len(self._made) >= MOST:
            self._made = {}
        self._made[left] = made
        return made

    def _new(self, left: frozenset[Locality]) -> Picker | None:
        closed = State.CLOSED
        states = [
            state
            for state in self._states
            if state.endpoint.locality not in left
            and state.endpoint.weight > 0
            and state.breaker.state is closed
        ]
        return self._build(states) if states else None
