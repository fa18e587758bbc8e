"""
How long this process itself stood still.

A handler that computes for two seconds blocks its event loop; a process that is stopped, swapped
out or starved of CPU does not run at all.  Replies arrive meanwhile and are not read, and when it
goes on, its timers fire first: every peer looks silent.  Whoever blames them ejects a whole healthy
upstream.  So a heart beats in the loop (or, for code without one, on a thread), and what it was
late by is our own.

Between two beats nothing is known, so a stall is taken to begin when the beat was due: it is
longer by up to one interval than what is said here, never shorter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple, TypeAlias

INTERVAL = 0.1
"""Seconds from beat to beat: ten wake-ups a second cost about 0.01 % of a core."""

LATE = 0.05
"""Seconds a beat may be late before it means anything: schedulers and garbage collectors are not
exact, and Node's and Envoy's watchdogs call the same order of lag noise."""

REMEMBERED = 64
"""Stalls remembered; older ones overlap with no request that is still out, or hardly."""

Heard: TypeAlias = Callable[[float], None]
"""Told of a stall when it is over: its seconds, without the first interval.  Must be quick."""


class _Stall(NamedTuple):
    since: float
    until: float


def by_nobody(_: float) -> None:
    """Nobody hears of stalls."""


class StallMeter:
    """Fed by one heart, asked by anybody; reading takes no lock.  `heard` is told of each stall.

    It says nothing until the first beat, and nothing any more after `stop`.
    """

    __slots__ = ("_due", "_heard", "_last", "_stalls")

    def __init__(self, heard: Heard = by_nobody) -> None:
        self._heard = heard
        self._due = inf
        self._last = -inf
        self._stalls: deque[_Stall] = deque(maxlen=REMEMBERED)

    def beat(self, now: float) -> float:
        """The heart beats; returns when the next beat is due."""
        if now - self._due > LATE:
            self._stalls.append(_Stall(self._due, now))
            self._last = now
            self._heard(now - self._due)
        self._due = now + INTERVAL
        return self._due

    def stop(self) -> None:
        """There is no heart any more; what was measured stays."""
        self._due = inf

    def stalled(self, since: float, until: float) -> float:
        """Seconds of this span in which the process stood still.

        A beat that is overdue counts as well: what asks may have woken up before the heart did.
        """
        overdue = until - max(self._due, since)
        total = overdue if until - self._due > LATE else 0.0
        if since < self._last:
            for stall in tuple(self._stalls):
                total += max(0.0, min(until, stall.until) - max(since, stall.since))
        return total

    def woke(self, now: float) -> bool:
        """Whether it stands still now, or has begun to move so lately that nobody caught up yet."""
        return now - self._due > LATE or now - self._last < INTERVAL

    def __repr__(self) -> str:
        return f"<StallMeter {len(self._stalls)} stalls>"


def excuses(meter: StallMeter, since: float, now: float, share: float) -> bool:
    """Whether a timeout of `since` to `now` may be our own fault.

    It is when the time was up during a stall, so that the answer may lie unread in its socket; and
    when for at least `share` of the time nobody could have read it.
    """
    if share == 0:
        return False
    return meter.woke(now) or meter.stalled(since, now) >= share * max(now - since, 1e-9)
