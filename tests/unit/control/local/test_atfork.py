"""What a fork must not catch in the middle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib.control.local import database
from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.database import Session, prepare
from meshlib.control.local.worker import Worker

SOON = 20.0

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` was true in a forked child, which does nothing else."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_lock_held_by_another_thread_is_free_in_the_child() -> None:
    """A fork waits until another thread gives the lock back, so that the child can take it."""
    lock, taken, forking = ForkLock(0), threading.Event(), threading.Event()
    first = ForkLock(-1, before=forking.set)

    def hold() -> None:
        with lock:
            taken.set()
            assert forking.wait(SOON)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(SOON)
    assert in_child(lambda: lock.lock.acquire(timeout=SOON))
    holder.join()
    assert lock.lock.acquire(timeout=SOON)
    lock.lock.release()
    assert first.taken


def test_order_and_sides() -> None:
    """Locks are taken by rank, and only the child is told that it is one, the innermost first.

    A thread that the outermost starts again would else use connections of the parent.
    """
    steps: list[str] = []
    locks = [
        ForkLock(8, before=lambda: steps.append("8"), child=lambda: steps.append("child 8")),
        ForkLock(7, before=lambda: steps.append("7"), child=lambda: steps.append("child 7")),
    ]
    assert in_child(lambda: steps == ["7", "8", "child 8", "child 7"])
    assert ["7", "8"] == steps
    assert all(lock.lock.acquire(blocking=False) for lock in locks)


def test_fork_by_the_holder() -> None:
    """A thread may fork while it holds a lock, and gives it back on both sides."""
    lock = ForkLock(0)

    def use() -> bool:
        with lock:
            return True

    with lock:
        assert in_child(use)
    assert use()


def test_no_connection_is_open_on_both_sides(tmp_path: Path) -> None:
    """A session is closed before the fork, and opened anew by whoever uses it next."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    session = Session(prepare(folder))
    assert 1 == session.data_version()[0]
    assert in_child(lambda: session._connection is None and session.data_version()[0] == 2)
    assert session._connection is None
    assert 2 == session.data_version()[0]
    session.close()


def test_connection_of_an_unannounced_fork(tmp_path: Path) -> None:
    """A connection that belongs to another process is put away: not used, not closed."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    session = Session(prepare(folder))
    session.data_version()
    foreign = session._connection
    session._opened = (os.getpid() + 1, *session._opened[1:])
    assert 2 == session.data_version()[0]
    assert session._connection is not foreign
    database._INHERITED.remove(foreign)
    assert foreign.execute("SELECT 1").fetchone() == (1,)
    foreign.close()
    session.close()


@pytest.mark.parametrize("inherit", [True, False])
def test_thread_in_the_child(inherit: bool) -> None:
    """A child goes on with an inherited worker, and not with another."""
    stepped = threading.Event()

    def step() -> float:
        stepped.set()
        return 1e6

    worker = Worker("test-worker", step, inherit=inherit)
    worker.start()
    assert stepped.wait(SOON)
    stepped.clear()
    assert in_child(lambda: (worker._thread is not None) is inherit)
    assert in_child(lambda: not inherit or stepped.wait(SOON))
    worker.stop()
