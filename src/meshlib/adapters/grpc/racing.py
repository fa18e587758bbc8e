"""
Two attempts of one RPC side by side, each in a thread: how synchronous channels hedge.

The first runs in the thread that asks, so that a call which is answered in time changes no thread.
Only when it is slow does another thread begin the second.  Whoever answers first has the other one
cancelled on the wire, which ends the waiting there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from meshlib.adapters.grpc.alarms import Alarms
from meshlib.adapters.grpc.handle import Handle
from meshlib.adapters.grpc.workers import Workers
from meshlib.runtime import real_clock, run_sync

T = TypeVar("T")

_alarms, _workers = Alarms(real_clock), Workers()
_racer: ContextVar[Handle | None] = ContextVar("meshlib.grpc.racer", default=None)


def handles(body: Any) -> tuple[Handle, ...]:
    """Who wants to hear of an attempt's call on the wire, to cancel it: the caller, the race."""
    asked, racer = getattr(body, "handle", None), _racer.get()
    if racer is None:
        return () if asked is None else (asked,)
    return (racer,) if asked is None else (asked, racer)


def racing() -> bool:
    """Whether the attempt may be cancelled by another one."""
    return _racer.get() is not None


async def race(
    first: Coroutine[Any, Any, T],
    seconds: float,
    second: Callable[[], Coroutine[Any, Any, T] | None],
    wins: Callable[[T], bool],
) -> tuple[T | None, T | None]:
    """See `Runtime.race`; one that is cancelled comes to whatever it makes of that."""
    return await _Race(second, wins).run(first, seconds)


class _Race(Generic[T]):
    def __init__(
        self, second: Callable[[], Coroutine[Any, Any, T] | None], wins: Callable[[T], bool]
    ) -> None:
        self._second, self._wins = second, wins
        self._changed = threading.Condition()
        self._first_over = self._begun = self._second_over = False
        self._handles = Handle(), Handle()
        self._result: T | None = None

    async def run(self, first: Coroutine[Any, Any, T], seconds: float) -> tuple[T | None, T | None]:
        join = partial(copy_context().run, self._join)
        alarm = _alarms.after(seconds, lambda: _workers.start(join))
        won = True  # what is raised ends the race as well
        token = _racer.set(self._handles[0])
        try:
            result = await first
            won = self._wins(result)
        finally:
            _racer.reset(token)
            alarm.call_off()
            self._end(won=won)
        return result, self._result

    def _end(self, *, won: bool) -> None:
        """The first is over: so is the race, or the second decides it."""
        with self._changed:
            self._first_over = True
            if not self._begun:
                return
        if won:
            self._handles[1].cancel()
        with self._changed:
            self._changed.wait_for(lambda: self._second_over)

    def _join(self) -> None:
        """Run the second, in a thread and a context of its own."""
        with self._changed:
            if self._first_over:
                return
            self._begun = True
        try:
            racer = self._second()
            if racer is not None:
                _racer.set(self._handles[1])
                self._result = run_sync(racer)
                if self._wins(self._result):
                    self._handles[0].cancel()
        finally:
            with self._changed:
                self._second_over = True
                self._changed.notify_all()
