"""
Locks and files that a fork must not catch in the middle.

A forked child has one thread, and a copy of every lock as it stood: one that another thread held
is held for ever.  So a `ForkLock` is taken by the forking thread first, and given back on both
sides.  What must not be open on both sides is closed while it is held: SQLite remembers the file
locks of its process, and a child that believes in its parent's locks can destroy the file
(https://sqlite.org/howtocorrupt.html, section 2.6).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType

PATIENCE = 10.0
"""Seconds a fork waits for one lock: longer than SQLite's busy timeout."""


def nothing() -> None:
    """Do nothing."""


class ForkLock:
    """A re-entrant lock that no other thread holds when the process forks.

    Locks are taken in the order of `rank`; a thread that holds one may only take a higher one.
    `before` runs in the forking thread with the lock held, `child` in the child afterwards.
    """

    def __init__(
        self,
        rank: int,
        *,
        before: Callable[[], None] = nothing,
        child: Callable[[], None] = nothing,
    ) -> None:
        self.rank, self.before, self.child = rank, before, child
        self.lock = threading.RLock()
        self.taken = False
        with _enrolling:
            _locks.add(self)

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lock.release()


_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()
_enrolling = threading.RLock()
_held: list[ForkLock] = []


def _before() -> None:
    _enrolling.acquire()
    _held[:] = sorted(_locks, key=lambda lock: lock.rank)
    for lock in _held:
        lock.taken = lock.lock.acquire(timeout=PATIENCE)
        if lock.taken:
            lock.before()


def _after_in_parent() -> None:
    locks = _release()
    locks.clear()


def _after_in_child() -> None:
    # From the innermost outwards: a thread that is started again finds ready what it stands on.
    for lock in reversed(_release()):
        if not lock.taken:
            lock.lock = threading.RLock()
        lock.child()


def _release() -> list[ForkLock]:
    locks = list(_held)
    _held.clear()
    for lock in reversed(locks):
        if lock.taken:
            lock.lock.release()
    _enrolling.release()
    return locks


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
