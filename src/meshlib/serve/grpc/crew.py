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
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final, TypeAlias

log = logging.getLogger("meshlib.serve")

TURNS: Final = 64
"""RPCs after which a thread goes back to its pool, whose other work may be waiting."""
IDLE: Final = 0.05
"""Seconds without an RPC, after which it does so, too."""

_Task: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]


class _UnderWay(Future[Any]):
    """What a future is to grpcio; it never ends, and so nobody is told."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """See the module."""


_UNDER_WAY: Final = _UnderWay()


def crew_of(pool: ThreadPoolExecutor, said: dict[str, Any]) -> Executor:
    """Who does the work of a server with this pool and these arguments.

    A pool of a class of its own is left alone: its `submit` may mean more.
    """
    if type(pool) is not ThreadPoolExecutor or said.get("maximum_concurrent_rpcs") is not None:
        return pool
    return Crew(pool)


class Crew(Executor):
    """Threads of a pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._tasks: deque[_Task] = deque()
        self._idle: list[threading.Lock] = []
        """Those who wait, each for its own: the last to come is called first, its caches are warm.
        (`SimpleQueue.get` may outwait its timeout for ever when another took what woke it.)"""
        self._called = False
        """Whether one of them is on its way.  It calls the next one itself if there is more to do
        by then: threads that all wake at once only wait for the interpreter's lock."""
        self._coming = False
        """The same for a thread the pool was asked for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have it done.  Raises RuntimeError once the pool is shut down."""
        if kwargs:
            return self._pool.submit(fn, *args, **kwargs)
        with self._lock:
            self._tasks.append((fn, args))
            if self._called or self._one_was_called():
                return _UNDER_WAY
        self._send_for_another()
        return _UNDER_WAY

    def _one_was_called(self) -> bool:
        if not self._idle:
            return False
        self._called = True
        self._idle.pop().release()
        return True

    def _send_for_another(self) -> None:
        if self._coming:
            return
        self._coming = True
        try:
            self._pool.submit(self._turns)
        except RuntimeError:
            self._coming = False
            raise

    def _turns(self) -> None:
        """What a thread of the pool does for the crew."""
        self._coming = False  # before it looks for tasks: whoever brings one now sends for another
        if len(self._tasks) > 1:
            self._relieved()
        turns, call = 0, threading.Lock()
        call.acquire()
        while self._did_one(call):
            turns += 1
            if turns % TURNS == 0 and self._relieved():
                return

    def _relieved(self) -> bool:
        """Whether another thread will come; a pool that is shut down sends none."""
        try:
            self._send_for_another()
        except RuntimeError:
            return False
        return True

    def _did_one(self, call: threading.Lock) -> bool:
        """Do the next task; False when there was none for a while."""
        task = self._next(call)
        if task is None:
            return False
        try:
            task[0](*task[1])
        except BaseException:  # a pool's threads outlive whatever is raised in them
            log.exception("an RPC ended in a way that grpcio does not expect")
        return True

    def _next(self, call: threading.Lock) -> _Task | None:
        with self._lock:
            if self._tasks:
                return self._tasks.popleft()
            self._idle.append(call)
        while call.acquire(timeout=IDLE) or self._just_called(call):
            task = self._on_arrival(call)
            if task is not None:
                return task
        return None

    def _just_called(self, call: threading.Lock) -> bool:
        """Whether somebody has called; if not, nobody needs to any more."""
        with self._lock:
            if call in self._idle:
                self._idle.remove(call)
                return False
        return call.acquire()

    def _on_arrival(self, call: threading.Lock) -> _Task | None:
        """What is left for who was called; None: others were quicker, and it waits again."""
        with self._lock:
            self._called = False
            if not self._tasks:
                self._idle.append(call)
                return None
            task = self._tasks.popleft()
            if not self._tasks or self._one_was_called():
                return task
        self._relieved()
        return task
