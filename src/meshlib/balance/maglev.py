"""
Maglev: a table whose slots the endpoints fill in turn, each in an order of its own.

"Maglev: A Fast and Reliable Software Network Load Balancer" (Eisenbud et al., 2016), as Envoy does
it (`maglev_lb.cc`): offset and skip of an endpoint's order are the xxHash64 of "address:port" with
seeds 0 and 1, and a lighter endpoint sits out turns.  The table is the same as Envoy's, whatever
the order of the endpoints.  A look-up is one index; when an endpoint goes, few keys of others move.

Filling the last slots takes nearly all of the time if each turn walks its order until it meets a
free one: with f of m slots free that takes m / f steps.  Once fewer are free than `CROWDED`, the
position of each of them in the order is computed instead.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import chain, islice
from math import ceil

from meshlib.balance.hash_key import Hash
from meshlib.balance.load import EndpointState
from meshlib.config import HashConfig

CROWDED = 256
"""Free slots below which looking at all of them is quicker than walking: the root of the size."""

_WORD = 2**64 - 1


class Maglev:
    """The table of `states`."""

    __slots__ = ("_slots",)

    def __init__(self, states: Sequence[EndpointState], digest: Hash, config: HashConfig) -> None:
        names = [state.endpoint.authority.encode() for state in states]
        order = sorted(range(len(states)), key=names.__getitem__)
        size = config.table
        offsets = [digest(names[index], 0) % size for index in order]
        skips = [digest(names[index], 1) % (size - 1) + 1 for index in order]
        turns = turns_of([states[index].weight for index in order])
        owners = fill(offsets, skips, turns, size)
        self._slots = array("I", [order[owner] for owner in owners])

    def at(self, hashed: int, attempt: int) -> int:
        """Who has the slot of `hashed`; with `attempt` that of another hash, as in Envoy."""
        if attempt:
            hashed ^= _WORD - attempt + 1
        return self._slots[hashed % len(self._slots)]


def fill(
    offsets: Sequence[int], skips: Sequence[int], turns: Iterator[int], size: int
) -> list[int]:
    """Who has each slot when all have asked, in `turns`, for `offset`, `offset + skip`, ..."""
    taken, owners, places = bytearray(size), [0] * size, list(offsets)
    for turn in islice(turns, size - min(CROWDED, size)):
        slot = places[turn]
        if taken[slot]:
            skip = skips[turn]
            while taken[slot]:
                slot += skip
                if slot >= size:
                    slot -= size
            places[turn] = slot
        taken[slot] = 1
        owners[slot] = turn
    free = [slot for slot in range(size) if not taken[slot]]
    while free:
        turn = next(turns)
        slot = _first_of(free, offsets[turn], skips[turn], size)
        free.remove(slot)
        owners[slot] = turn
    return owners


def _first_of(free: Sequence[int], offset: int, skip: int, size: int) -> int:
    """Of the free slots the one it comes to first; it has passed none that is still free."""
    inverse = pow(skip, -1, size)
    steps = [(slot - offset) * inverse % size for slot in free]
    return free[steps.index(min(steps))]


def turns_of(weights: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, for ever.

    In round r all have a turn, in order, whose weight times r has reached what they owe; each turn
    raises that by the greatest weight.  In the arithmetic of Envoy, floats of weights that add up
    to 1; but rounds in which somebody has no turn are not walked through.
    """
    whole = sum(weights)
    classes: dict[int, list[int]] = {}
    for index, weight in enumerate(weights):
        classes.setdefault(weight, []).append(index)
    if len(classes) == 1:
        while True:
            yield from range(len(weights))
    most = max(weights) / whole
    shares = [weight / whole for weight in classes]
    together = _Together(list(classes.values()))
    owed = [0.0] * len(shares)
    due = [(1, number) for number in range(len(shares))]
    heapify(due)
    while True:
        now, numbers = due[0][0], list[int]()
        while due[0][0] == now:
            number = due[0][1]
            numbers.append(number)
            owed[number] += most
            heapreplace(due, (_round_of(owed[number], shares[number], now + 1), number))
        yield from together[tuple(numbers)]


class _Together(dict[tuple[int, ...], list[int]]):
    """The indices of several classes, in order; the same few classes meet again and again."""

    def __init__(self, members: Sequence[list[int]]) -> None:
        super().__init__()
        self._members = members

    def __missing__(self, numbers: tuple[int, ...]) -> list[int]:
        together = sorted(chain.from_iterable(self._members[number] for number in numbers))
        if len(self) < 1024:
            self[numbers] = together
        return together


def _round_of(owed: float, share: float, least: int) -> int:
    """The first round, from `least` on, in which `share` times the round has reached `owed`."""
    number = max(least, ceil(owed / share) - 1)
    while number * share < owed:
        number += 1
    return number
