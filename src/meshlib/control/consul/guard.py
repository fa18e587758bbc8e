"""
The empty-answer guard: most of a service does not vanish at one moment.

When it seems to, it is far more often the registry that lost its memory (a restarted agent whose
checks are all critical, a catalog restored from a backup, a token that lost its rights) than the
instances.  So a set that loses most of its endpoints at once is held for a bounded time, together
with whoever is new; those that are really dead meet the passive health checks.
(facts: Envoy's panic threshold of 50 %, gRPC A88's cached copy on data errors.)
"""

from __future__ import annotations

from dataclasses import replace

from meshlib.balance.load import key_of
from meshlib.model import Bound, Neg, Resolution
from meshlib.runtime import Clock

HOLD = 30.0
"""Seconds.  Three times the TTL of a heartbeat: whoever lives has been heard of again."""
MOST = 0.5
"""Share that may be lost at once without a question, as Envoy's panic threshold has it."""
FEW = 3
"""Sets up to this size may shrink as they like, but not to nothing: one is a third of them."""


class Guard:
    """What is to be believed of one service's endpoints, answer by answer."""

    __slots__ = ("_clock", "_hold", "_since", "believed")

    def __init__(self, clock: Clock, *, hold: float = HOLD) -> None:
        self._clock, self._hold = clock, hold
        self._since: float | None = None
        self.believed: Resolution | None = None
        """What was published last."""

    @property
    def holding(self) -> bool:
        """Whether endpoints are kept that the registry no longer names."""
        return self._since is not None

    def believe(self, said: Resolution) -> None:
        """Begin with what is known from elsewhere."""
        self.believed = said

    def update(self, said: Resolution) -> Resolution:
        """What to publish, now that the registry says this; asked again, time may have passed."""
        if isinstance(said, Bound | Neg) and self._vanished(said):
            now = self._clock()
            self._since = now if self._since is None else self._since
            if now - self._since < self._hold:
                return self._held(said)
        elif not isinstance(said, Bound | Neg) and self.believed is not None:
            return self.believed  # nobody answered: what was good stays
        self._since, self.believed = None, said
        return said

    def _vanished(self, said: Bound | Neg) -> bool:
        """Whether most of what is believed is not named any more."""
        if not isinstance(self.believed, Bound):
            return False
        before = set(map(key_of, self.believed.snapshot.endpoints))
        after = set(map(key_of, said.snapshot.endpoints)) if isinstance(said, Bound) else set()
        lost = len(before - after)
        if not after:
            return lost > 0
        return len(before) > FEW and lost > len(before) * MOST

    def _held(self, said: Bound | Neg) -> Resolution:
        """Everybody who was believed, as the registry has them now where it has them."""
        believed = self.believed
        if not isinstance(believed, Bound) or not isinstance(said, Bound):
            return believed or said
        named = set(map(key_of, said.snapshot.endpoints))
        lost = tuple(each for each in believed.snapshot.endpoints if key_of(each) not in named)
        everybody = said.snapshot.endpoints + lost
        return Bound(replace(said.snapshot, endpoints=everybody))
