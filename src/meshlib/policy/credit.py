"""
How many extra attempts a whole tree of calls may make.

A limit per call multiplies down a chain: three layers of three tries make 27 requests of one.  A
credit does not.  It is a number of extra attempts that a request brings into the mesh and that all
calls below it share: each extra attempt that may reach a server spends one, and each attempt takes
some along for the calls its server will make.

    hand_on     half of what is left goes with an attempt; this end keeps the other half
    take_back   the answer brings back what was not spent, or the attempt was never sent
    spend       an extra attempt

Credit is moved and spent but never made, so the extra attempts of a tree are at most what it began
with, however wide and deep it is and whoever fails.  What was handed on to a server that then
falls silent is lost, which is the safe side; that is why half of it stays at home.
"""

from __future__ import annotations

import threading

from meshlib.config.retry import LARGEST_CREDIT


class Credit:
    """The part of a tree's credit that one process holds for one request; any thread may use it."""

    __slots__ = ("_left", "_lock")

    def __init__(self, amount: int) -> None:
        self._left = amount
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Extra attempts that may be made now."""
        return self._left

    def spend(self) -> bool:
        """Take one extra attempt out, if there is one."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def hand_on(self) -> int:
        """Take out what an attempt shall carry."""
        with self._lock:
            share = self._left // 2
            self._left -= share
            return share

    def take_back(self, amount: int) -> None:
        """Put back what was handed on and not spent."""
        if amount > 0:
            with self._lock:
                self._left += amount

    def drain(self) -> int:
        """Take out all there is, to give it back to whom it came from."""
        with self._lock:
            left, self._left = self._left, 0
            return left

    def __repr__(self) -> str:
        return f"<Credit {self._left}>"


def read_credit(text: str | None) -> int | None:
    """A credit as a header says it; None for what is none.  Never above `LARGEST_CREDIT`."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return min(int(text), LARGEST_CREDIT)
