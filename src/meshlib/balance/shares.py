"""
Several groups of endpoints, each with its share of the traffic and a picker of its own.

What zones, priorities and failing endpoints have in common: a group is drawn first, then somebody
in it, by whatever balancer.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from meshlib.balance.load import EndpointState, Key
from meshlib.balance.picker import Pick, Picker, keys_of
from meshlib.model import Attempt, Call

_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio: Knuth's multiplicative hashing."""


class Group(NamedTuple):
    """Some endpoints, at least one."""

    share: float
    """Of the traffic, relative to the others'; 0: only for calls that have tried another group."""
    states: Sequence[EndpointState]


Make: TypeAlias = Callable[[Sequence[EndpointState]], Picker]
"""Makes the picker of one group."""

Chance: TypeAlias = Callable[[Call], float]
"""In [0, 1): which group a call gets.  Where calls have keys, the same for the same key."""


def share_out(groups: Sequence[Group], make: Make, chance: Chance) -> Picker:
    """The picker over all `groups`, of which there is at least one."""
    if len(groups) == 1:
        return make(groups[0].states)
    return Shares(groups, make, chance)


def with_biased(
    groups: Sequence[Group], biased: Sequence[EndpointState], bias: float
) -> list[Group]:
    """`groups`, and those that are drawn with `bias` times their weight."""
    if not biased:
        return [*groups]
    whole = sum(state.weight for group in groups for state in group.states)
    share = bias * sum(state.weight for state in biased) / whole
    return [*groups, Group(share * sum(g.share for g in groups), biased)] if share else [*groups]


def scattered(hashed: int) -> float:
    """A number in [0, 1) made of 64 bits, such that it says little of what is next to what."""
    return ((hashed * _GOLDEN & 2**64 - 1) >> 11) / 2**53


class Shares:
    """Draws a group by its share; a retry goes to a group that has somebody untried."""

    __slots__ = ("_chance", "_cumulative", "_keys", "_pickers")

    def __init__(self, groups: Sequence[Group], make: Make, chance: Chance) -> None:
        self._cumulative = list(accumulate(group.share for group in groups))
        self._pickers = [make(group.states) for group in groups]
        self._keys = [frozenset(state.key for state in group.states) for group in groups]
        self._chance = chance

    def pick(self, attempt: Attempt) -> Pick | None:
        """Somebody of the group that is drawn."""
        call = attempt.call
        drawn = self._chance(call) * self._cumulative[-1]
        index = min(bisect(self._cumulative, drawn), len(self._pickers) - 1)
        if call.tried:
            index = self._untried(index, keys_of(call.tried))
        return self._pickers[index].pick(attempt)

    def _untried(self, index: int, tried: frozenset[Key]) -> int:
        """`index`, or the next group, and around, that has somebody untried."""
        for step in range(len(self._keys)):
            beside = (index + step) % len(self._keys)
            if not self._keys[beside] <= tried:
                return beside
        return index
