"""
Bounded load: an endpoint whose keys are too popular hands some of them on.

Nobody carries more than `factor` percent of its share of all pending requests ("Consistent Hashing
with Bounded Loads", arXiv 1608.01350).  The arithmetic is that of Envoy's
`BoundedLoadHashingLoadBalancer`, which lets an endpoint exceed its bound by one request.
What is too much goes on to a place that depends on the hash alone, not to the neighbour, which
would soon overflow in its turn (arXiv 1908.08762): the same key overflows to the same endpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, gcd

from meshlib.balance.load import EndpointState
from meshlib.balance.picker import Pick, keys_of
from meshlib.balance.tally import Tally
from meshlib.model import Endpoint, Verdict

JUMPS = 32
"""Endpoints looked at before the least loaded of them takes it.  Envoy looks at all; at a factor of
125 four of five can be full, and 32 in a row are so once in a thousand times."""


class TalliedPick(Pick):
    """A pick that counts among those of all endpoints."""

    __slots__ = ("_tally",)

    def __init__(self, state: EndpointState, permit: int, tally: Tally) -> None:
        super().__init__(state, permit)
        self._tally = tally
        tally.add(1)

    def done(
        self,
        verdict: Verdict,
        seconds: float | None = None,
        penalty: float | None = None,
        *,
        connected: bool = True,
    ) -> bool:
        """As for any pick."""
        first = super().done(verdict, seconds, penalty, connected=connected)
        if first:
            self._tally.add(-1)
        return first


class Bound:
    """Bounds what each of `states` carries."""

    __slots__ = ("_factor", "_shares", "_states", "_tally")

    def __init__(self, states: Sequence[EndpointState], factor: int) -> None:
        self._states = tuple(states)
        self._factor = factor
        whole = sum(state.weight for state in states)
        self._shares = [state.weight / whole for state in states]
        self._tally = _shared_tally(states)

    def pick(self, index: int, hashed: int, tried: Sequence[Endpoint]) -> Pick:
        """The endpoint at `index`, or where `hashed` goes if that is full."""
        if self._fullness(index) > 1:
            index = self._overflow(index, hashed, tried)
        state = self._states[index]
        return TalliedPick(state, state.breaker.permit, self._tally)

    def _fullness(self, index: int) -> float:
        """Above 1: it may not have another."""
        slots = ((self._tally.pending + 1) * self._factor + 99) // 100
        return (self._states[index].pending + 1) / max(ceil(slots * self._shares[index]), 1)

    def _overflow(self, index: int, hashed: int, tried: Sequence[Endpoint]) -> int:
        avoid = keys_of(tried)
        best, least = index, self._fullness(index)
        for other in self._jumps(hashed):
            if self._states[other].key in avoid:
                continue
            fullness = self._fullness(other)
            if fullness < least:
                best, least = other, fullness
            if least <= 1:
                break
        return best

    def _jumps(self, hashed: int) -> Iterator[int]:
        """Different indices, all of them if there are few: steps that share no factor with n."""
        count = len(self._states)
        step = 1 + (hashed >> 32) % count
        while gcd(step, count) != 1:
            step += 1
        for jump in range(min(count, JUMPS)):
            yield (hashed + jump * step) % count


def _shared_tally(states: Sequence[EndpointState]) -> Tally:
    """One for all endpoints of an upstream.  Pickers are built by one writer at a time."""
    tally = next((state.tally for state in states if state.tally is not None), None) or Tally()
    for state in states:
        state.tally = tally
    return tally
