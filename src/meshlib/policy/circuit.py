"""
The circuit of one method of a service: stops calling what mostly fails, or is mostly slow.

The breaker of an endpoint (`policy.breaker`) moves traffic to other endpoints; a circuit refuses
it, for there is nowhere else to go.  Rules:

1. CLOSED: calls pass and are counted for `window` seconds.  When at least `calls` of them are
   known and the share that failed, or was slow, reaches its bound, the circuit opens.
2. OPEN: calls are refused for a cooldown, with jitter.  It doubles with every opening until the
   circuit has been closed for a whole window: one that closes and opens again at once goes on
   growing, so that it cannot flap at its shortest period.
3. HALF_OPEN: calls that hold a *lease* pass.  The first goes alone; after its success `probes` may
   go at a time, and as many successes close the circuit.  One that fails, or is slow, opens it.
4. A lease ends with its report.  A report that says nothing (the caller went away) returns it, and
   one that never comes is not waited for longer than `lease` seconds: nothing hangs half open.
5. Every move begins a new epoch, and a permit counts only in the epoch it was given in.

DISABLED lets everything pass and counts nothing, METRICS_ONLY counts and never refuses,
FORCED_OPEN refuses everything: Resilience4j's three, set by hand or by document.
"""

from __future__ import annotations

import enum
import threading
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from meshlib.config import CircuitConfig
from meshlib.model import Verdict
from meshlib.policy.tally import Counts, Tally
from meshlib.runtime import Clock, Rng


class CircuitState(enum.Enum):
    """Where a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    DISABLED = "disabled"
    FORCED_OPEN = "forced_open"
    METRICS_ONLY = "metrics_only"


class Permit(NamedTuple):
    """Leave to make one call."""

    epoch: int
    lease: int = 0
    """0: of a call that is no probe."""


class CircuitListener(Protocol):
    """Hears of circuits, on the thread of the call that moved one.  Must be quick and not raise."""

    def circuit_moved(
        self, name: str, before: CircuitState, after: CircuitState, counts: Counts
    ) -> None:
        """A circuit moved; `counts` is what was known of its window before."""

    def circuit_refused(self, name: str) -> None:
        """A call was refused."""


class Silence:
    """Nobody listens."""

    def circuit_moved(
        self, name: str, before: CircuitState, after: CircuitState, counts: Counts
    ) -> None:
        """Do nothing."""

    def circuit_refused(self, name: str) -> None:
        """Do nothing."""


_BY_HAND = {
    "auto": None,
    "disabled": CircuitState.DISABLED,
    "forced_open": CircuitState.FORCED_OPEN,
    "metrics_only": CircuitState.METRICS_ONLY,
}
_OPEN, _HALF_OPEN = CircuitState.OPEN, CircuitState.HALF_OPEN
_Move: TypeAlias = tuple[CircuitState, CircuitState, Counts]
_UNCOUNTED = Permit(0)
_SILENCE = Silence()


class Circuit:
    """Thread-safe.  `state` may be read at any time."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        rng: Rng,
        config: CircuitConfig,
        listener: CircuitListener = _SILENCE,
    ) -> None:
        self.name = name
        self._clock, self._rng, self._config, self._listener = clock, rng, config, listener
        self._lock = threading.Lock()
        self._tally = Tally(config.window, clock())
        self._cooldown = config.cooldown
        self._closed_at = -inf
        self._opens_again = 0.0
        self._leases: dict[int, float] = {}
        self._leased = 0
        self._succeeded = 0
        self._epoch = 0
        self.state = CircuitState.CLOSED
        self._go(_BY_HAND[config.state] or CircuitState.CLOSED)

    # ---- asked by calls

    def acquire(self) -> Permit | None:
        """Leave to make a call, or None."""
        free = self._free
        if free is not None:
            return free
        with self._lock:
            permit, moved = self._acquire(self._clock())
        self._tell(moved)
        if permit is None:
            self._listener.circuit_refused(self.name)
        return permit

    def report(self, permit: Permit, verdict: Verdict, seconds: float) -> None:
        """Say how the call ended; of several reports of one lease the first counts."""
        if permit is _UNCOUNTED:
            return
        with self._lock:
            if permit.epoch != self._epoch:
                return
            moved = self._judge(permit, verdict, seconds, self._clock())
        self._tell(moved)

    @property
    def wait(self) -> float:
        """Seconds until the circuit, if it is open, lets a probe through."""
        return max(0.0, self._opens_again - self._clock()) if self.state is _OPEN else 0.0

    def counts(self) -> Counts:
        """What is known of the last window."""
        with self._lock:
            return self._tally.counts(self._clock())

    # ---- changed by hand

    def configure(self, config: CircuitConfig) -> None:
        """Use other settings from now on; what was counted stays, and where it stands."""
        with self._lock:
            before, self._config = self._config, config
            self._tally.resize(config.window, self._clock())
            self._cooldown = min(max(self._cooldown, config.cooldown), config.max_cooldown)
        if config.state != before.state:
            self.force(_BY_HAND[config.state])

    def force(self, state: CircuitState | None) -> None:
        """Go to DISABLED, FORCED_OPEN or METRICS_ONLY; None: by the calls again, closed."""
        with self._lock:
            moved = self._move(state or CircuitState.CLOSED)
        self._tell(moved)

    # ---- how, under the lock

    def _acquire(self, now: float) -> tuple[Permit | None, _Move | None]:
        if self._free is not None:  # it closed meanwhile
            return self._free, None
        if self.state is _HALF_OPEN:
            return self._lease(now), None
        if self.state is _OPEN and now >= self._opens_again:
            moved = self._move(_HALF_OPEN)
            return self._lease(now), moved
        return None, None

    def _lease(self, now: float) -> Permit | None:
        alive = {lease: ends for lease, ends in self._leases.items() if ends > now}
        self._leases = alive
        at_a_time = self._config.probes if self._succeeded else 1
        if len(alive) >= at_a_time:
            return None
        self._leased += 1
        alive[self._leased] = now + self._config.lease
        return Permit(self._epoch, self._leased)

    def _judge(self, permit: Permit, verdict: Verdict, seconds: float, now: float) -> _Move | None:
        held = not permit.lease or self._leases.pop(permit.lease, -inf) > now
        if verdict.ignored or not held:
            return None
        slow = seconds >= self._config.slow_after
        well = not (verdict.failed or slow)
        if well:
            self._tally.passed(now)
        else:
            self._tally.add(now, failed=verdict.failed, slow=slow)
        if self.state is _HALF_OPEN:
            return self._probed(now, well=well)
        if not well and self.state is CircuitState.CLOSED and self._too_many(now):
            return self._open(now)
        return None

    def _too_many(self, now: float) -> bool:
        counts, config = self._tally.counts(now), self._config
        if counts.calls < config.calls:
            return False
        return counts.failures >= config.failures or counts.slowness >= config.slow

    def _probed(self, now: float, *, well: bool) -> _Move | None:
        if not well:
            return self._open(now)
        self._succeeded += 1
        if self._succeeded < self._config.probes:
            return None
        self._closed_at = now
        return self._move(CircuitState.CLOSED)

    def _open(self, now: float) -> _Move:
        config = self._config
        settled = now - self._closed_at >= config.window
        if self.state is CircuitState.CLOSED and settled:
            self._cooldown = config.cooldown
        else:
            self._cooldown = min(2 * self._cooldown, config.max_cooldown)
        self._opens_again = now + self._cooldown * (1 + config.jitter * self._rng.random())
        return self._move(CircuitState.OPEN)

    def _move(self, after: CircuitState) -> _Move:
        before, counts = self.state, self._tally.counts(self._clock())
        self._tally.clear()
        self._go(after)
        return before, after, counts

    def _go(self, state: CircuitState) -> None:
        self.state = state
        self._epoch += 1
        self._leases, self._succeeded = {}, 0
        self._free = _free(state, self._epoch)

    def _tell(self, moved: _Move | None) -> None:
        if moved is not None:
            self._listener.circuit_moved(self.name, *moved)

    def __repr__(self) -> str:
        counts = self.counts()
        return (
            f"<Circuit {self.name!r} {self.state.value}: {counts.failed} of {counts.calls} failed, "
            f"{counts.slow} slow>"
        )


def _free(state: CircuitState, epoch: int) -> Permit | None:
    """What everybody gets without asking further; None where it has to be decided."""
    if state is CircuitState.DISABLED:
        return _UNCOUNTED
    passes = state in {CircuitState.CLOSED, CircuitState.METRICS_ONLY}
    return Permit(epoch) if passes else None
