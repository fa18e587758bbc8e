"""
Maglev: a table whose slots the endpoints fill in turn, each in an order of its own.

"Maglev: A Fast and Reliable Software Network Load Balancer" (Eisenbud et al., 2016), as Envoy does
it (`maglev_lb.cc`): offset and skip of an endpoint's order are the xxHash64 of "address:port" with
seeds 0 and 1, and a lighter endpoint sits out turns.  The table is the same as Envoy's, whatever
the order of the endpoints.  A look-up is one index; when an endpoint goes, few keys of others move.

Filling the last slots takes most of the time, as each turn walks its order until it meets a free
one: with f of m slots free that takes m / f steps.  Once few are free, many steps are made at once:
several copies of the table in a row hold so many without going around, as one slice of bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import chain, islice
from math import ceil
from typing import cast

from meshlib.balance.hash_key import Hash
from meshlib.balance.load import EndpointState
from meshlib.balance.weights import by_weight
from meshlib.config import HashConfig

CROWDED = 16
"""When one slot in so many is free, steps are made in slices."""

COPIES = 16
"""Of the table: slices of them are long enough, and all fit in a processor's cache."""

LONGEST = 512
"""Steps in one slice at most, for orders that hardly move."""

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
        self._slots = array("I", map(order.__getitem__, owners))

    def at(self, hashed: int, attempt: int) -> int:
        """Who has the slot of `hashed`; with `attempt` that of another hash, as in Envoy."""
        if attempt:
            hashed ^= _WORD - attempt + 1
        return self._slots[hashed % len(self._slots)]


def fill(
    offsets: Sequence[int], skips: Sequence[int], turns: Iterator[int], size: int
) -> list[int]:
    """Who has each slot when all have asked, in `turns`, for `offset`, `offset + skip`, ..."""
    owners: list[int | None] = [None] * size
    places = list(offsets)
    for turn in islice(turns, size - size // CROWDED):
        slot = places[turn]
        if owners[slot] is not None:
            skip = skips[turn]
            while owners[slot] is not None:
                slot += skip
                if slot >= size:
                    slot -= size
            places[turn] = slot
        owners[slot] = turn
    _fill_rest(owners, places, skips, turns)
    return cast("list[int]", owners)


def _fill_rest(
    owners: list[int | None], places: list[int], skips: Sequence[int], turns: Iterator[int]
) -> None:
    size = len(owners)
    taken = bytearray([owner is not None for owner in owners]) * COPIES
    everywhere = b"\1" * COPIES
    for turn in islice(turns, size // CROWDED):
        slot, skip = places[turn], skips[turn]
        reach = min((COPIES - 1) * size // skip, LONGEST) * skip
        while (step := taken[slot : slot + reach : skip].find(0)) < 0:
            slot = (slot + reach) % size
        places[turn] = slot = (slot + step * skip) % size
        taken[slot::size] = everywhere
        owners[slot] = turn


def turns_of(weights: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, for ever.

    In round r all have a turn, in order, whose weight times r has reached what they owe; each turn
    raises that by the greatest weight.  In the arithmetic of Envoy, floats of weights that add up
    to 1; but rounds in which somebody has no turn are not walked through.
    """
    whole = sum(weights)
    classes = by_weight(weights)
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
