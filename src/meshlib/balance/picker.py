"""
What every balancer is: a `Picker` that answers with a `Pick`.

A picker is built from one set of endpoints and never changes; when the set changes, the upstream
puts a new one in its place.  What changes are the counts it reads: those of the endpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from meshlib.balance.load import EndpointState, Key, key_of
from meshlib.model import Attempt, Endpoint, Verdict
from meshlib.policy.breaker import UNCOUNTED


class Pick:
    """An endpoint that was chosen, pending until `done`."""

    __slots__ = ("_counted", "_permit", "_state", "endpoint")

    def __init__(self, state: EndpointState, permit: int) -> None:
        self.endpoint = state.endpoint
        self._state, self._permit, self._counted = state, permit, False
        state.picks.add(self)

    @property
    def working(self) -> bool:
        """Whether the endpoint is believed to work, or this is the probe that finds out."""
        return self._permit != UNCOUNTED

    def done(
        self,
        verdict: Verdict,
        seconds: float | None = None,
        penalty: float | None = None,
        *,
        connected: bool = True,
    ) -> bool:
        """Say how it ended; Verdict.IGNORED is neutral.  Whether this is the first report.

        Only the first counts.  `seconds` is what the attempt took, None if that says nothing
        about the endpoint: it was cancelled.  `penalty` says that it failed, or refused, and for
        how many seconds it asked to be left alone: 0 if it did not ask.  `connected` is false
        when no connection came about.
        """
        state = self._state
        try:
            state.picks.remove(self)
        except KeyError:
            return False
        if seconds is not None and state.latency is not None:
            state.latency.report(verdict, seconds, penalty)
        self._counted = state.breaker.report(self._permit, verdict, connected=connected)
        return True

    def take_back(self) -> None:
        """Undo the blame for a failure that turned out not to be the endpoint's."""
        if self._counted:
            self._counted = False
            self._state.breaker.take_back(self._permit)

    def __repr__(self) -> str:
        return f"<Pick {self.endpoint}{'' if self in self._state.picks else ' (done)'}>"


class Picker(Protocol):
    """Chooses endpoints."""

    def pick(self, attempt: Attempt) -> Pick | None:
        """An endpoint for `attempt`, not one that its call has tried if another is left.

        None: there is nothing to pick from.  Whoever picks must call `done`.
        """


class NothingToPick:
    """The picker of an empty set."""

    def pick(self, attempt: Attempt) -> Pick | None:
        """None."""
        return None


def keys_of(tried: Sequence[Endpoint]) -> frozenset[Key]:
    """What to avoid."""
    return frozenset(map(key_of, tried))


def step_aside(states: Sequence[EndpointState], index: int, avoid: Collection[Key]) -> int:
    """The first index, from `index` on and around, whose endpoint is not to be avoided.

    Takes at most one step more than there is to avoid; `index` itself if all are.
    """
    for step in range(len(avoid) + 1):
        beside = (index + step) % len(states)
        if states[beside].key not in avoid:
            return beside
    return index
