"""
The breaker of one endpoint: stops sending to what fails, and finds out when it works again.

Rules.  CLOSED lets requests through, OPEN does not (electrical sense).

1. Failures open it when they are too many: `policy.outlier` counts them.  A request whose outcome
   says nothing (IGNORED) does not count.
2. It stays open for a cooldown.  Then whoever asks first gets a *lease*: one real request is the
   probe, and the breaker is HALF_OPEN until the probe reports.
3. A probe that succeeds closes it.  One that fails opens it for twice as long as before, up to
   `max_cooldown`; the jitter comes on top, so that many breakers do not probe in step.
4. A probe whose outcome says nothing, as its caller went away, gives the lease back: the next to
   ask gets it at once.  A lease that is not reported for `lease` seconds goes to the next to ask.
5. Every move begins a new *epoch*.  A request holds the permit of the epoch it was picked in, and
   its report counts only in that epoch: what began before the breaker opened, what was sent
   although it was open, and a probe whose lease went to another neither close nor open it.
6. Blame can be taken back, when it turns out that the request was at fault.  While the breaker is
   closed the failure is not counted any more; if it was among those that opened it, and no probe
   has gone out since, it closes: it would not have opened without it.

It only says how its endpoint does.  Whether that one is left out of the draw depends on how the
others do, and is decided over all of them (`balance.panic`).

The single probe is linkerd2-proxy's gate and Finagle's failure accrual; the lease and its end are
what half-open states that hang for ever (a cancelled probe) have taught everybody.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from math import inf
from typing import Final, TypeAlias

from meshlib.config import OutlierConfig
from meshlib.model import Verdict
from meshlib.policy.outlier import Detector
from meshlib.runtime import Clock, Rng


class State(enum.Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class _Event(enum.Enum):
    TRIPPED = enum.auto()
    PARDONED = enum.auto()
    LEASED = enum.auto()
    PROBE_SUCCEEDED = enum.auto()
    PROBE_FAILED = enum.auto()
    PROBE_RELEASED = enum.auto()


_NEXT: Final = {
    (State.CLOSED, _Event.TRIPPED): State.OPEN,
    (State.OPEN, _Event.PARDONED): State.CLOSED,
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
        "_detector",
        "_epoch",
        "_lock",
        "_moved",
        "_rng",
        "_tripped",
        "cooldown",
        "due",
        "permit",
        "state",
        "unreachable",
    )

    def __init__(
        self, clock: Clock, rng: Rng, config: OutlierConfig, moved: Moved | None = None
    ) -> None:
        self._clock, self._rng, self._config, self._moved = clock, rng, config, moved
        self._lock = threading.Lock()
        self._detector = Detector(config, clock())
        self._epoch = 1
        self._tripped = UNCOUNTED
        self.cooldown = config.cooldown
        """Seconds, without jitter, of the latest opening: longer after each probe that failed."""
        self.unreachable = False
        """Whether it is open because no connection comes about."""
        self.state = State.CLOSED
        self.due = inf
        """When the next probe may be leased, on the clock; inf while closed."""
        self.permit = self._epoch
        """What a request picked now shows when it reports; UNCOUNTED while not closed."""

    def configure(self, config: OutlierConfig) -> None:
        """Use other settings from the next report on; what was learned stays."""
        with self._lock:
            self._config = config
            self._detector.configure(config, self._clock())

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

    def report(self, permit: int, verdict: Verdict, *, connected: bool = True) -> bool:
        """Say how a request with this permit ended; of several reports of a probe one counts.

        `connected` is false when the request failed before it was sent.  Whether it was counted.
        """
        if verdict.succeeded and permit and permit == self.permit:
            self._detector.succeeded(self._clock())  # nearly every report: it need not wait
            return True
        with self._lock:
            if permit != self._epoch:
                return False
            before = self.state
            if before is State.CLOSED:
                self._count(verdict, connected=connected)
            else:
                self._judge(_OF_PROBE[verdict], connected=connected)
            after = self.state
        if after is not before:
            self._tell(before, after)
        return True

    def take_back(self, permit: int) -> None:
        """Undo the report of one failure, which was counted and not this endpoint's fault."""
        with self._lock:
            before = self.state
            if before is State.CLOSED and permit == self._epoch:
                self._detector.forgive(self._clock())
            elif before is State.OPEN and permit == self._tripped != UNCOUNTED:
                self._move(_Event.PARDONED, inf)
            after = self.state
        if after is not before:
            self._tell(before, after)

    def _count(self, verdict: Verdict, *, connected: bool) -> None:
        if verdict.succeeded:
            self._detector.succeeded(self._clock())
        elif verdict.failed and self._detector.failed(self._clock(), connected=connected):
            self.unreachable = self._detector.unreachable
            self._tripped = self._epoch
            self._open(_Event.TRIPPED, self._config.cooldown)

    def _judge(self, event: _Event, *, connected: bool) -> None:
        if event is _Event.PROBE_FAILED:
            self.unreachable = not connected
            self._open(event, min(2 * self.cooldown, self._config.max_cooldown))
        elif event is _Event.PROBE_RELEASED:
            self._move(event, self._clock())
        else:
            self._move(event, inf)

    def _open(self, event: _Event, cooldown: float) -> None:
        self.cooldown = cooldown
        jitter = cooldown * self._config.jitter * self._rng.random()
        self._move(event, self._clock() + cooldown + jitter)

    def _move(self, event: _Event, due: float) -> State:
        before = self.state
        self.state = _NEXT[before, event]
        self.due = due
        self._detector.clear()
        self._epoch += 1
        self.permit = UNCOUNTED
        if event is not _Event.TRIPPED:
            self._tripped = UNCOUNTED
        if self.state is State.CLOSED:
            self.permit, self.unreachable = self._epoch, False
        return before

    def _tell(self, before: State, after: State) -> None:
        if self._moved is not None:
            self._moved(before, after)

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value}>"
