"""What became of the calls of the last seconds, in counts."""

from __future__ import annotations

from array import array
from typing import NamedTuple

SLOTS = 10
"""Into so many slots the window is cut: a call is remembered for 9/10 to 10/10 of it."""

_CALLS, _FAILED, _SLOW = 0, SLOTS, 2 * SLOTS
"""Where the counts of each kind begin, in one array: there is a tally for every endpoint."""
_NOTHING = array("i", [0] * (3 * SLOTS))
_EMPTY = array("i", [0] * 3)


class Counts(NamedTuple):
    """Of one window."""

    calls: int
    failed: int
    slow: int

    @property
    def failures(self) -> float:
        """The share that failed."""
        return self.failed / self.calls if self.calls else 0.0

    @property
    def slowness(self) -> float:
        """The share that was slow."""
        return self.slow / self.calls if self.calls else 0.0


class Tally:
    """A sliding window of counts.  Not thread-safe."""

    __slots__ = ("_counts", "_over", "_passed", "_slot", "_width")

    def __init__(self, window: float, now: float) -> None:
        self._cut(window, now)

    def clear(self) -> None:
        """Forget everything."""
        self._empty()

    def _empty(self) -> None:
        self._passed = 0  # of the current slot, not in `_counts` yet
        self._counts = array("i", _NOTHING)

    def resize(self, window: float, now: float) -> None:
        """Cut another window; what was counted falls into its newest slot."""
        if window / SLOTS == self._width:
            return
        counts = self.counts(now)
        self._cut(window, now)
        self._counts[self._slot % SLOTS :: SLOTS] = array("i", counts)

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count one call that ended now."""
        index = self._turn(now)
        self._counts[_CALLS + index] += 1
        self._counts[_FAILED + index] += failed
        self._counts[_SLOW + index] += slow

    def passed(self, now: float) -> None:
        """Count one call that neither failed nor was slow: `add` for those in a hurry."""
        if now >= self._over:
            self._turn(now)
        self._passed += 1

    def forgive(self, now: float) -> None:
        """Take one failed call out, of the newest slot that has any."""
        newest = self._turn(now)
        for age in range(SLOTS):
            index = (newest - age) % SLOTS
            if self._counts[_FAILED + index]:
                self._counts[_CALLS + index] -= 1
                self._counts[_FAILED + index] -= 1
                return

    def counts(self, now: float) -> Counts:
        """The sums."""
        self._turn(now)
        counts = self._counts
        return Counts(sum(counts[:_FAILED]), sum(counts[_FAILED:_SLOW]), sum(counts[_SLOW:]))

    def _cut(self, window: float, now: float) -> None:
        self._width = window / SLOTS
        self._begin(int(now // self._width))
        self._empty()

    def _begin(self, slot: int) -> None:
        self._slot, self._over = slot, (slot + 1) * self._width

    def _turn(self, now: float) -> int:
        """The index of the current slot, after emptying those that have left the window."""
        passed, self._passed = self._passed, 0
        self._counts[_CALLS + self._slot % SLOTS] += passed
        slot = int(now // self._width)
        if slot > self._slot:
            for old in range(max(self._slot, slot - SLOTS) + 1, slot + 1):
                self._counts[old % SLOTS :: SLOTS] = _EMPTY
            self._begin(slot)
        return self._slot % SLOTS
