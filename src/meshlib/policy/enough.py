"""
How many threads are enough, where all of them need the interpreter's lock.

Threads that compute in Python run one at a time.  With more of them than that the same work takes
longer, as each hands the lock to the next: a small RPC over grpcio takes half as long with two
threads at work as with eight (bench/rpc.py).  Threads that wait, for a database or in code that
lets go of the lock, are another matter: the more, the better.

The processor's time tells them apart.  A process that keeps about one processor busy has threads
that wait for the lock (or nothing to gain from more of them); with less than that, or with several
processors at work, more threads get more done.  The number falls by half and grows by one (AIMD,
as in TCP), so that what it is wrong about is soon put right.
"""

from __future__ import annotations

from collections.abc import Callable

from meshlib.runtime import Clock

FEW = 3
"""Never fewer: one computes, one waits for its message, one is on its way."""
FULL, SEVERAL = 0.8, 1.35
"""Processors' time per second between which it is one lock that all wait for; above one, as gRPC's
own work needs no lock."""
LEAST = 0.0005
"""Seconds that must have passed since the last look, for the kernel counts in steps."""


class Enough:
    """`clock` gives seconds, `cpu` those that all threads of the process computed."""

    __slots__ = ("_clock", "_cpu", "_crowded", "_seen", "_used", "threads")

    def __init__(self, clock: Clock, cpu: Callable[[], float]) -> None:
        self._clock, self._cpu = clock, cpu
        self._seen, self._used = clock(), cpu()
        self._crowded = False
        self.threads = FEW
        """As many may be at work while a task waits."""

    def crowded(self) -> bool:
        """Whether another thread would only wait for the lock, by what was used since asked last.

        If so, fewer are enough.
        """
        now = self._clock()
        passed = now - self._seen
        if passed >= LEAST:
            used = self._cpu()
            self._crowded = FULL <= (used - self._used) / passed < SEVERAL
            self._seen, self._used = now, used
            if self._crowded:
                self.threads = max(FEW, self.threads // 2)
        return self._crowded

    def more(self) -> None:
        """One more was needed."""
        self.threads += 1
