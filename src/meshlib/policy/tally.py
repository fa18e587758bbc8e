"""What became of the calls of the last seconds, in counts."""

from __future__ import annotations

from typing import NamedTuple

SLOTS = 10
"""Into so many slots the window is cut: a call is remembered for 9/10 to 10/10 of it."""


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

    __slots__ = ("_calls", "_failed", "_slot", "_slow", "_width")

    def __init__(self, window: float, now: float) -> None:
        self._width = window / SLOTS
        self._slot = int(now // self._width)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._calls, self._failed, self._slow = [0] * SLOTS, [0] * SLOTS, [0] * SLOTS

    def resize(self, window: float, now: float) -> None:
        """Cut another window; what was counted falls into its newest slot."""
        if window / SLOTS == self._width:
            return
        counts = self.counts(now)
        self._width = window / SLOTS
        self._slot = int(now // self._width)
        self.clear()
        index = self._slot % SLOTS
        self._calls[index], self._failed[index], self._slow[index] = counts

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count one call that ended now."""
        index = self._turn(now)
        self._calls[index] += 1
        self._failed[index] += failed
        self._slow[index] += slow

    def passed(self, now: float) -> None:
        """Count one call that neither failed nor was slow: `add` for those in a hurry."""
        slot = int(now // self._width)
        if slot > self._slot:
            self._turn(now)
        self._calls[slot % SLOTS] += 1

    def forgive(self, now: float) -> None:
        """Take one failed call out, of the newest slot that has any."""
        newest = self._turn(now)
        for age in range(SLOTS):
            index = (newest - age) % SLOTS
            if self._failed[index]:
                self._calls[index] -= 1
                self._failed[index] -= 1
                return

    def counts(self, now: float) -> Counts:
        """The sums."""
        self._turn(now)
        return Counts(sum(self._calls), sum(self._failed), sum(self._slow))

    def _turn(self, now: float) -> int:
        """The index of the current slot, after emptying those that have left the window."""
        slot = int(now // self._width)
        if slot > self._slot:
            for old in range(max(self._slot, slot - SLOTS) + 1, slot + 1):
                index = old % SLOTS
                self._calls[index] = self._failed[index] = self._slow[index] = 0
            self._slot = slot
        return self._slot % SLOTS
