"""
The breaker of one endpoint: stops sending to what fails, and finds out when it works again.

Rules.  CLOSED lets requests through, OPEN does not (electrical sense).

1. `failures` failures in a row open it.  A success in between starts the count anew; a request
   whose outcome says nothing (IGNORED) neither counts nor ends the row.
2. It stays open for a cooldown.  Then whoever asks first gets a *lease*: one real request is the
   probe, and the breaker is HALF_OPEN until the probe reports.
3. A probe that succeeds closes it.  One that fails opens it for twice as long as before, up to
   `max_cooldown`; the jitter comes on top, so that many breakers do not probe in step.
4. A probe whose outcome says nothing, as its caller went away, gives the lease back: the next to
   ask gets it at once.  A lease that is not reported for `lease` seconds goes to the next to ask.
5. Every move begins a new *epoch*.  A request holds the permit of the epoch it was picked in, and
   its report counts only in that epoch: what began before the breaker opened, what was sent
   although it was open, and a probe whose lease went to another neither close nor open it.

The single probe is linkerd2-proxy's gate and Finagle's failure accrual; the lease and its end are
what half-open states that hang for ever (a cancelled probe) have taught everybody.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from math import inf
from typing import Final, TypeAlias

from meshlib.config import BreakerConfig
from meshlib.model import Verdict
from meshlib.runtime import Clock, Rng


class State(enum.Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class _Event(enum.Enum):
    TRIPPED = enum.auto()
    LEASED = enum.auto()
    PROBE_SUCCEEDED = enum.auto()
    PROBE_FAILED = enum.auto()
    PROBE_RELEASED = enum.auto()


_NEXT: Final = {
    (State.CLOSED, _Event.TRIPPED): State.OPEN,
    (State.OPEN, _Event.LEASED): State.HALF_OPEN,
    (State.HALF_OPEN, _Event.LEASED): State.HALF_OPEN,  # the lease before has expired
    (State.HALF_OPEN, _Event.PROBE_SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, _Event.PROBE_FAILED): State.OPEN,
    (State.HALF_OPEN, _Event.PROBE_RELEASED): State.OPEN,  # due at once
}

_OF_PROBE: Final = {
    Verdict.SUCCESS: _Event.PROBE_SUCCEEDED,
    Verdict.FAILURE: _Event.PROBE_FAILED,
    Verdict.RETRYABLE: _Event.PROBE_FAILED,
    Verdict.IGNORED: _Event.PROBE_RELEASED,
}

UNCOUNTED: Final = 0
"""The permit of a request whose report shall not count; no epoch has this number."""

Moved: TypeAlias = Callable[[State, State], None]
"""Hears of a move, from and to.  Moves of several threads may be heard out of order: look again."""


class Breaker:
    """Thread-safe.  `state`, `due` and `permit` may be read at any time, without the lock.

    `moved` is called after every move, on the thread that caused it, outside the lock.
    """

    __slots__ = (
        "_clock",
        "_config",
        "_cooldown",
        "_epoch",
        "_failures",
        "_lock",
        "_moved",
        "_rng",
        "due",
        "permit",
        "state",
    )

    def __init__(
        self, clock: Clock, rng: Rng, config: BreakerConfig, moved: Moved | None = None
    ) -> None:
        self._clock, self._rng, self._config, self._moved = clock, rng, config, moved
        self._lock = threading.Lock()
        self._failures = 0
        self._cooldown = config.cooldown
        self._epoch = 1
        self.state = State.CLOSED
        self.due = inf
        """When the next probe may be leased, on the clock; inf while closed."""
        self.permit = self._epoch
        """What a request picked now shows when it reports; UNCOUNTED while not closed."""

    def configure(self, config: BreakerConfig) -> None:
        """Use other settings from the next report on; what was learned stays."""
        self._config = config

    def try_probe(self) -> int:
        """The permit of the one probe, if a probe is due; else UNCOUNTED."""
        with self._lock:
            now = self._clock()
            if now < self.due:
                return UNCOUNTED
            before = self._move(_Event.LEASED, now + self._config.lease)
            permit = self._epoch
        self._tell(before, State.HALF_OPEN)
        return permit

    def report(self, permit: int, verdict: Verdict) -> None:
        """Say how a request with this permit ended; of several reports of a probe one counts."""
        if verdict is Verdict.SUCCESS and permit == self.permit and self._failures == 0:
            return  # nearly every report: it changes nothing, so it need not wait for the lock
        with self._lock:
            if permit != self._epoch:
                return
            before = self.state
            if before is State.CLOSED:
                self._count(verdict)
            else:
                self._judge(_OF_PROBE[verdict])
            after = self.state
        if after is not before:
            self._tell(before, after)

    def _count(self, verdict: Verdict) -> None:
        if verdict is Verdict.SUCCESS:
            self._failures = 0
        elif verdict.failed:
            self._failures += 1
            if self._failures >= self._config.failures:
                self._open(_Event.TRIPPED, self._config.cooldown)

    def _judge(self, event: _Event) -> None:
        if event is _Event.PROBE_FAILED:
            self._open(event, min(2 * self._cooldown, self._config.max_cooldown))
        elif event is _Event.PROBE_RELEASED:
            self._move(event, self._clock())
        else:
            self._move(event, inf)

    def _open(self, event: _Event, cooldown: float) -> None:
        self._cooldown = cooldown
        jitter = cooldown * self._config.jitter * self._rng.random()
        self._move(event, self._clock() + cooldown + jitter)

    def _move(self, event: _Event, due: float) -> State:
        before = self.state
        self.state = _NEXT[before, event]
        self.due = due
        self._failures = 0
        self._epoch += 1
        self.permit = self._epoch if self.state is State.CLOSED else UNCOUNTED
        return before

    def _tell(self, before: State, after: State) -> None:
        if self._moved is not None:
            self._moved(before, after)

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value}>"
