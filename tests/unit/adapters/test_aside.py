"""Work nobody waits for: bounded, done elsewhere, waited for at the end."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.aside_sync import MOST, THREADS, Threads
from meshlib.adapters.loops import PerLoop


async def wait_for(event):
    """Work that lasts until the event."""
    event.wait(10)


async def note(where, what):
    """Work that can be seen."""
    where.append((what, threading.current_thread().daemon))


def test_work_is_done_on_daemon_threads_and_waited_for():
    """`close` returns when what was taken is done; later work is refused."""
    threads, done = Threads(), []
    assert all(threads(note(done, number)) for number in range(20))
    threads.close()
    assert sorted((number, True) for number in range(20)) == sorted(done)
    assert not threads(note(done, "late"))
    assert 20 == len(done)


def test_there_are_few_threads_and_not_too_much_waits():
    """What is more than fits is refused at once, and closed."""
    threads, go = Threads(), threading.Event()
    before = threading.active_count()
    taken = [threads(wait_for(go)) for _ in range(MOST + 5)]
    assert (MOST, 5) == (taken.count(True), taken.count(False))
    assert THREADS >= threading.active_count() - before
    go.set()
    threads.close()


def test_the_end_is_bounded():
    """Work that does not end is left behind; what had not begun is closed."""
    threads, go = Threads(), threading.Event()
    for _ in range(THREADS + 1):
        threads(wait_for(go))
    threads.close(seconds=0.0)
    go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    """Those of the parent are not there; the child's work is done all the same."""
    threads, done = Threads(), threading.Event()

    async def finish():
        done.set()

    threads(finish())
    assert done.wait(10)
    child = os.fork()
    if child == 0:
        done = threading.Event()
        threads(finish())
        os._exit(0 if done.wait(10) else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    threads.close()


def test_a_loop_that_ends_waits_for_its_tasks():
    """`asyncio.run` cancels what it knows of; these are awaited instead."""
    ended = []

    async def work():
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("done")

    async def main():
        PerLoop(Tasks, Tasks.close).current()(work())

    asyncio.run(main())
    assert ["done"] == ended


def test_tasks_are_bounded_and_waited_for():
    """In a loop, likewise; what does not end in time is cancelled."""

    async def main():
        tasks, go, ended = Tasks(), asyncio.Event(), []

        async def work():
            try:
                await go.wait()
                ended.append("done")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        taken = [tasks(work()) for _ in range(MOST + 1)]
        go.set()
        await tasks.close()
        late = tasks(work())
        stuck, go = Tasks(), asyncio.Event()
        stuck(work())
        await stuck.close(seconds=0.0)
        return taken.count(True), late, ended.count("done"), ended[-1]

    assert (MOST, False, MOST, "cancelled") == asyncio.run(main())
