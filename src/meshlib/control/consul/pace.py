"""
The rules of blocking queries, as decisions: what to wait from, and how soon to ask again.

From Consul's own (https://developer.hashicorp.com/consul/api-docs/features/blocking), and from what
its agents were seen to do.
"""

from __future__ import annotations

from math import inf

from meshlib.runtime import Clock, Rng

INTERVAL = 0.1
"""Seconds between two answers, sustained.  Nomad and Vault limit their own loops alike."""
BURST = 10
"""Answers in a row that are not slowed down: what comes in a rush is news."""
UNINDEXED = 2.0
"""Seconds between two questions when answers have no index, and so cannot be waited for."""
FIRST_PAUSE = 0.1
"""Seconds; the pause after the first failure is drawn below this, each later bound is doubled."""
LONGEST_PAUSE = 5.0
"""Seconds: who comes back is noticed within five, and not by everybody at once."""


class Position:
    """What to wait from.

    - An index that goes backwards (a restored snapshot, a new agent) begins again with 0: else a
      change is not delivered before the wait ends, as nothing is newer than what we have seen.
    - An index of 0 after a wait would not block: 1 is waited from.
    - After a failure whoever answers next may be somebody else: 0.
    """

    __slots__ = ("index",)

    def __init__(self) -> None:
        self.index = 0

    def advance(self, heard: int) -> bool:
        """Take note of an answer's index; whether the answer may say something new."""
        before = self.index
        self.index = 0 if heard < before else max(heard, 1)
        return heard != before or not heard

    def lose(self) -> None:
        """The connection failed."""
        self.index = 0


class Pace:
    """How long to wait before asking again: a token bucket, so that a loop can never be busy."""

    __slots__ = ("_at", "_burst", "_clock", "_interval", "_tokens")

    def __init__(self, clock: Clock, *, interval: float = INTERVAL, burst: int = BURST) -> None:
        self._clock, self._interval, self._burst = clock, interval, burst
        self._tokens, self._at = float(burst), clock()

    def pause(self, *, indexed: bool) -> float:
        """Seconds to wait after an answer."""
        now = self._clock()
        earned = (now - self._at) / self._interval if self._interval else inf
        self._tokens = min(float(self._burst), self._tokens + earned) - 1.0
        self._at = now
        pause = max(0.0, -self._tokens * self._interval)
        return pause if indexed else max(pause, UNINDEXED)


def reconnect_pause(attempt: int, rng: Rng) -> float:
    """Seconds before the next attempt, after `attempt` (1, 2, ...) failed ones.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    bound = FIRST_PAUSE * 2.0 ** min(attempt - 1, 30)
    return rng.random() * min(LONGEST_PAUSE, bound)
