"""
What every balancer is: a `Picker` that answers with a `Pick`.

A picker is built from one set of endpoints and never changes; when the set changes, the upstream
puts a new one in its place.  What changes are the counts it reads: those of the endpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from meshlib.balance.load import EndpointState, Key, key_of
from meshlib.model import Attempt, Endpoint, Verdict


class Pick:
    """An endpoint that was chosen, counted as pending until `done`."""

    __slots__ = ("_open", "_permit", "_state", "endpoint")

    def __init__(self, state: EndpointState, permit: int) -> None:
        self.endpoint = state.endpoint
        self._state, self._permit, self._open = state, permit, True
        with state.lock:
            state.pending += 1

    def done(self, verdict: Verdict) -> None:
        """Say how it ended; Verdict.IGNORED is neutral.  Only the first report counts."""
        state = self._state
        with state.lock:
            if not self._open:
                return
            self._open = False
            state.pending -= 1
        state.breaker.report(self._permit, verdict)

    def __repr__(self) -> str:
        return f"<Pick {self.endpoint}{'' if self._open else ' (done)'}>"


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


def indices_of(tried: Sequence[Endpoint], index: Mapping[Key, int]) -> tuple[int, ...]:
    """Where the endpoints of `tried` stand; those that are gone are left out."""
    keys = map(key_of, tried)
    return tuple(index[key] for key in keys if key in index)


def step_aside(index: int, avoid: Collection[int], count: int) -> int:
    """The first of `count` indices, from `index` on and around, that is not to be avoided.

    Takes at most one step more than there is to avoid; `index` itself if all are.
    """
    for step in range(len(avoid) + 1):
        if (beside := (index + step) % count) not in avoid:
            return beside
    return index
