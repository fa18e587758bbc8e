"""
Consistent hashing: what `ring_hash` and `maglev` have in common.

They differ in the table that says which endpoint a hash belongs to.  Who was tried already is
passed over: the table has a next endpoint for every hash.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from meshlib.balance.bounded import Bound
from meshlib.balance.hash_key import HashKey
from meshlib.balance.load import EndpointState, Key
from meshlib.balance.picker import Pick, keys_of, step_aside
from meshlib.model import Attempt
from meshlib.runtime import Rng

STEPS = 8
"""Places of the table looked at before what was tried is stepped over."""


class Table(Protocol):
    """Where each hash belongs."""

    def at(self, hashed: int, attempt: int) -> int:
        """The index of the endpoint at `hashed`; with `attempt` > 0 that of an alternative."""


class Consistent:
    """Picks among `states`, of which there is at least one, by `table` and the call's key."""

    __slots__ = ("_bound", "_key", "_random", "_states", "_table")

    def __init__(
        self,
        states: Sequence[EndpointState],
        table: Table,
        key: HashKey,
        rng: Rng,
        bound: Bound | None = None,
    ) -> None:
        self._states = tuple(states)
        self._table, self._key, self._bound = table, key, bound
        self._random = rng.random

    def pick(self, attempt: Attempt) -> Pick:
        """The endpoint of the call's key, or anybody if it has none."""
        call = attempt.call
        hashed = self._key(call)
        if hashed is None:
            hashed = int(self._random() * 2**64)
        index = self._table.at(hashed, 0)
        if call.tried:
            index = self._untried(index, hashed, keys_of(call.tried))
        if self._bound is not None:
            return self._bound.pick(index, hashed, call.tried)
        state = self._states[index]
        return Pick(state, state.breaker.permit)

    def _untried(self, index: int, hashed: int, avoid: Collection[Key]) -> int:
        for step in range(1, STEPS):
            if self._states[index].key not in avoid:
                return index
            index = self._table.at(hashed, step)
        return step_aside(self._states, index, avoid)
