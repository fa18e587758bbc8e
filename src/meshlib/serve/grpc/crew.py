"""
A pool of threads that takes RPCs by the handful.

A `ThreadPoolExecutor` makes a future for each piece of work, with a condition of its own and a
callback for its end: a quarter of what grpcio spends on a small RPC.  A `Crew` borrows the threads
of the pool instead, each for `TURNS` RPCs; nobody else's work waits longer for one than for so
many.  What the pool is remains the program's affair: how many threads, what they are called, what
they do first.

grpcio asks to be told of an RPC's end only to keep `maximum_concurrent_rpcs`: a server with such a
limit gets the pool itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from typing import Any, Final, TypeAlias

from meshlib.policy.enough import Enough
from meshlib.runtime import Clock

log = logging.getLogger("meshlib.serve")

TURNS: Final = 64
"""RPCs after which a thread goes back to its pool, whose other work may be waiting."""
IDLE: Final = 0.05
"""Seconds without an RPC, after which it does so, too."""
NAP: Final = 0.001
"""Seconds that an RPC may wait for one of those at work before one more thread takes it."""

_Task: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]


class _UnderWay(Future[Any]):
    """What a future is to grpcio; it never ends, and so nobody is told."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """See the module."""


_UNDER_WAY: Final = _UnderWay()


def crew_of(pool: ThreadPoolExecutor, said: dict[str, Any], clock: Clock) -> Executor:
    """Who does the work of a server with this pool and these arguments.

    A pool of a class of its own is left alone: its `submit` may mean more.
    """
    if type(pool) is not ThreadPoolExecutor or said.get("maximum_concurrent_rpcs") is not None:
        return pool
    return Crew(pool, Enough(clock, time.process_time))


class _Duty(Enum):
    """What a thread is to do that has no task."""

    WAIT = 1
    WATCH = 2


class Crew(Executor):
    """Threads of a pool.

    `enough` says how many of them may be at work while a task waits.  When so many are, one more is
    called all the same.  It watches, and takes what none of them comes round to.
    """

    def __init__(self, pool: ThreadPoolExecutor, enough: Enough) -> None:
        self._pool, self._enough = pool, enough
        self._lock = threading.Lock()
        self._tasks: deque[_Task] = deque()
        self._idle: list[threading.Lock] = []
        """Those who wait, each for its own: the last to come is called first, its caches are warm.
        (`SimpleQueue.get` may outwait its timeout for ever when another took what woke it.)"""
        self._called = False
        """Whether one of them is on its way; it calls the next one if there is more to do then."""
        self._coming = False
        """The same of a thread that the pool was asked for."""
        self._watched = False
        self._busy = self._begun = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have it done.  Raises RuntimeError once the pool is shut down."""
        if kwargs:
            return self._pool.submit(fn, *args, **kwargs)
        with self._lock:
            self._tasks.append((fn, args))
            try:
                self._call_another()
            except RuntimeError:
                self._tasks.pop()
                raise
        return _UNDER_WAY

    def _turns(self) -> None:
        """What a thread of the pool does for the crew."""
        call, turns = threading.Lock(), 0
        call.acquire()
        with self._lock:
            self._coming = False
            found = self._assigned(call)
        while self._did(found, call):
            turns += 1
            with self._lock:
                self._busy -= 1
                if turns % TURNS == 0 and self._relieved():
                    return
                found = self._assigned(call)

    def _did(self, found: _Task | _Duty, call: threading.Lock) -> bool:
        """Do a task, the next if none is found yet; False when there was none for a while."""
        while isinstance(found, _Duty):
            if found is _Duty.WATCH:
                found = self._watch(call)
            elif call.acquire(timeout=IDLE) or self._just_called(call):
                with self._lock:
                    self._called = False
                    found = self._assigned(call)
            else:
                return False
        try:
            found[0](*found[1])
        except BaseException:  # a pool's threads outlive whatever is raised in them
            log.exception("an RPC ended in a way that grpcio does not expect")
        return True

    def _watch(self, call: threading.Lock) -> _Task | _Duty:
        """See how those at work come on."""
        begun = self._begun
        call.acquire(timeout=NAP)  # in vain: nobody calls who does not wait
        with self._lock:
            crowded = self._enough.crowded()
            if self._tasks and crowded and self._begun != begun:
                return _Duty.WATCH
            self._watched = False
            if not self._tasks or self._busy < self._enough.threads:
                return self._assigned(call)
            if not crowded:
                self._enough.more()
            return self._begin()

    def _just_called(self, call: threading.Lock) -> bool:
        """Whether somebody has called; if not, nobody needs to any more."""
        with self._lock:
            if call in self._idle:
                self._idle.remove(call)
                return False
        return call.acquire()

    # ---- what is asked and done with the lock held

    def _assigned(self, call: threading.Lock) -> _Task | _Duty:
        """What a thread without a task is to do."""
        if self._tasks and self._busy < self._enough.threads:
            return self._begin()
        if self._tasks and not self._watched:
            self._watched = True
            return _Duty.WATCH
        self._idle.append(call)
        return _Duty.WAIT

    def _begin(self) -> _Task:
        self._busy += 1
        self._begun += 1
        task = self._tasks.popleft()
        if self._tasks:
            with suppress(RuntimeError):  # a pool that is shut down: who is here does what is left
                self._call_another()
        return task

    def _call_another(self) -> None:
        if self._called or (self._watched and self._busy >= self._enough.threads):
            return
        if self._idle:
            self._called = True
            self._idle.pop().release()
        elif not self._coming:
            self._pool.submit(self._turns)
            self._coming = True

    def _relieved(self) -> bool:
        """Whether another thread comes in place of this one."""
        self._enough.crowded()
        try:
            if not self._coming:
                self._pool.submit(self._turns)
                self._coming = True
        except RuntimeError:
            return False
        return True
