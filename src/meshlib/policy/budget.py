"""
How many retries a stream of calls may cause.

A limit per call does not bound the load that retries add: when everything fails, three tries are
three times the load.  A budget does.  Every call deposits a share of a retry, every retry withdraws
a whole one, both are forgotten after a window, and a small floor lets quiet services retry as well.
The window is that of Finagle's `RetryBudget` and of `tower::retry::budget::TpsBudget`.  They add
the floor to the share; here, as in GEP-3388 and in Envoy, the larger of the two counts, so that a
busy service's load grows by `share` and by nothing more.
"""

from __future__ import annotations

import threading

from meshlib.config import BudgetConfig
from meshlib.runtime import Clock

SLOTS = 10
"""Into so many slots the window is cut, as in Finagle: a deposit lives 9/10 to 10/10 of it."""


class RetryBudget:
    """A share of the calls of the last window, or a floor: shared by all that retry together.

    Over any `SLOTS` slots that end with a withdrawal, the withdrawals are at most `share` of the
    deposits, or `floor` a second where that is more.
    """

    __slots__ = ("_calls", "_clock", "_lock", "_reserve", "_retries", "_share", "_slot", "_width")

    def __init__(self, clock: Clock, config: BudgetConfig) -> None:
        self._clock = clock
        self._share = config.share
        self._reserve = config.floor * config.window
        self._width = config.window / SLOTS
        self._calls = [0] * SLOTS
        self._retries = [0] * SLOTS
        self._slot = int(clock() // self._width)
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Count a call."""
        with self._lock:
            self._calls[self._now()] += 1

    def try_withdraw(self) -> bool:
        """Take one retry out, if there is one."""
        with self._lock:
            now = self._now()
            if self._left() < 1:
                return False
            self._retries[now] += 1
            return True

    @property
    def balance(self) -> float:
        """Retries that may be made now."""
        with self._lock:
            self._now()
            return self._left()

    def _left(self) -> float:
        """Whole counts are kept and multiplied here, so that no rounding error can add up."""
        return max(self._reserve, self._share * sum(self._calls)) - sum(self._retries)

    def _now(self) -> int:
        """The index of the current slot, after emptying those that have left the window."""
        slot = int(self._clock() // self._width)
        if slot > self._slot:
            for old in range(max(self._slot, slot - SLOTS) + 1, slot + 1):
                self._calls[old % SLOTS] = self._retries[old % SLOTS] = 0
            self._slot = slot
        return self._slot % SLOTS

    def __repr__(self) -> str:
        return f"<RetryBudget {self.balance:g} left>"
