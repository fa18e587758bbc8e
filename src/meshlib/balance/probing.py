"""
Sends one real request to an endpoint whose breaker has been open long enough.

An endpoint with an open breaker is not drawn any more, so nobody would find out that it works
again.  `Probing` stands before the balancer while there are such endpoints.  It knows the moment
at which the next of them is due, so all that a pick pays is one look at the clock.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick, Picker
from meshlib.model import Attempt
from meshlib.policy.breaker import UNCOUNTED
from meshlib.runtime import Clock


class Probing:
    """Leases the probes that are due in `waiting`; asks `inner` for everything else.

    Only a call's first attempt becomes a probe: one that has failed already shall have the best
    odds there are.
    """

    __slots__ = ("_clock", "_due", "_heap", "_inner", "_lock", "_order", "_waiting")

    def __init__(self, inner: Picker, waiting: Sequence[EndpointState], clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self._waiting = frozenset(waiting)
        self._order = count()
        self._lock = threading.Lock()
        self._heap = [(state.breaker.due, next(self._order), state) for state in waiting]
        heapify(self._heap)
        self._due = self._earliest()

    def pick(self, attempt: Attempt) -> Pick | None:
        """A probe if one is due, else the pick of `inner`."""
        if self._clock() >= self._due and not attempt.call.tried:
            probe = self._probe()
            if probe is not None:
                return probe
        return self._inner.pick(attempt)

    def note(self, state: EndpointState) -> None:
        """Hear that the breaker of `state` has moved, and may be due at another time."""
        if state in self._waiting:
            with self._lock:
                heappush(self._heap, (state.breaker.due, next(self._order), state))
                self._due = self._earliest()

    def _probe(self) -> Pick | None:
        """The breaker decides: a time in the heap may be that of a lease somebody else holds."""
        while (state := self._pop_due()) is not None:
            permit = state.breaker.try_probe()
            if permit != UNCOUNTED:
                return Pick(state, permit)
        return None

    def _pop_due(self) -> EndpointState | None:
        """Nothing is lost by removing it: whenever a breaker moves, `note` adds its new time."""
        with self._lock:
            if self._clock() < self._earliest():
                return None
            state = heappop(self._heap)[2]
            self._due = self._earliest()
            return state

    def _earliest(self) -> float:
        return self._heap[0][0] if self._heap else inf
