"""
An agent that is not there is asked by one at a time, about a second apart.

pybreaker keeps the state, the count and the listeners.  It is told how requests ended instead of
running them, because it holds its lock while it runs one; and our clock decides when to try again,
because its own is the wall clock, which may be set (docs/decisions/0004).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING

from meshlib.control.consul.faults import AgentUnreachable, ConsulFault
from meshlib.control.local.atfork import ForkLock
from meshlib.runtime import Clock, Rng

if TYPE_CHECKING:
    from pybreaker import CircuitBreaker, CircuitBreakerListener, CircuitBreakerState

log = logging.getLogger("meshlib.control")

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
"""As pybreaker calls them."""
FAILURES = 5
"""In a row, until it opens: pybreaker's default."""
PAUSE = 1.0
"""Seconds, half of them drawn at random: one connection attempt is cheap, a storm is not."""
LEASE = 5.0
"""Seconds after which a probe is no longer waited for: it may itself be a long wait."""
FOR_EVER = 10.0**9
"""Seconds: pybreaker's own reset is not used."""
RANK = 89
"""Of the lock: the client's connections come after it."""

Moved = Callable[[str, str], None]
"""Hears "closed", "open" or "half-open": the state before, and the one now."""


class AgentBreaker:
    """Between a client and its agent.  Safe for threads and forks.

    `moved` is called without a lock, pybreaker's own `listeners` with the breaker's held.
    """

    def __init__(
        self,
        agent: str,
        *,
        clock: Clock,
        rng: Rng,
        moved: Moved | None = None,
        listeners: tuple[CircuitBreakerListener, ...] = (),
    ) -> None:
        from pybreaker import CircuitBreaker  # it takes 0.3 s where redis is installed

        self._agent, self._clock, self._rng, self._moved = agent, clock, rng, moved
        self._until, self._last = -inf, AgentUnreachable(f"{agent} does not answer")
        self._lock, self._moves = ForkLock(RANK), list[tuple[str, str]]()
        self._breaker = CircuitBreaker(
            fail_max=FAILURES,
            reset_timeout=FOR_EVER,
            name=agent,
            throw_new_error_on_trip=False,
            listeners=[_moves_into(self._moves), *listeners],
        )

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        return self._breaker.current_state

    def admit(self) -> None:
        """Raise AgentUnreachable, with the reason of the last failure, if now is not the time."""
        if self.state == CLOSED:
            return
        with self._changing():
            if self.state == CLOSED:
                return
            now, last = self._clock(), self._last
            if now < self._until:
                raise AgentUnreachable(
                    last.what, why=last.why, hint=last.hint, timed_out=last.timed_out
                )
            self._until = now + LEASE
            self._breaker.half_open()

    def answered(self) -> None:
        """A request was answered, be it with an error: the agent is there."""
        with self._changing():
            if self.state == OPEN:
                self._breaker.close()
            else:
                self._breaker.call(_nothing)

    def failed(self, fault: AgentUnreachable) -> None:
        """Nobody answered a request."""
        with self._changing():
            self._last = fault
            if self.state != OPEN:
                with suppress(ConsulFault):
                    self._breaker.call(_raise, fault)
                self._until = self._clock() + PAUSE * (0.5 + self._rng.random() / 2)

    def undecided(self) -> None:
        """A request ended, and says nothing about the agent: somebody else may probe."""
        with self._changing():
            if self.state == HALF_OPEN:
                self._until = self._clock()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock; tell of the moves made under it when it is given back."""
        try:
            with self._lock:
                yield
        finally:
            while self._moves:
                self._tell(*self._moves.pop(0))

    def _tell(self, before: str, after: str) -> None:
        level, line = _LINES[after]
        # a probe that failed is no news
        log.log(
            logging.DEBUG if before == HALF_OPEN and after == OPEN else level, line, self._agent
        )
        if self._moved is not None:
            try:
                self._moved(before, after)
            except Exception:
                log.exception("a listener of the breaker of %s failed", self._agent)


def _moves_into(moves: list[tuple[str, str]]) -> CircuitBreakerListener:
    """A listener that writes moves down, to be told later."""
    from pybreaker import CircuitBreakerListener

    class Moves(CircuitBreakerListener):
        def state_change(
            self,
            cb: CircuitBreaker,
            old_state: CircuitBreakerState | None,
            new_state: CircuitBreakerState,
        ) -> None:
            if old_state is not None and old_state.name != new_state.name:
                moves.append((old_state.name, new_state.name))

    return Moves()


_LINES = {
    OPEN: (logging.WARNING, "%s does not answer: only single probes are sent"),
    HALF_OPEN: (logging.DEBUG, "%s is probed"),
    CLOSED: (logging.INFO, "%s answers again"),
}


def _nothing() -> None:
    return None


def _raise(fault: ConsulFault) -> None:
    raise fault
