from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import meshlib
from meshlib import follow
from meshlib.context import RequestContext, current
from meshlib.drivers.threads import result, submit
from meshlib.errors import DeadlineExceeded
from meshlib.runtime import real_clock
from meshlib.testing.clock import FakeClock


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def within():
    """Be in a request with so many seconds left."""
    entered = []

    def enter(seconds, clock=None):
        clock = clock or FakeClock()
        context = RequestContext(clock, deadline=clock() + seconds)
        entered.append((context, context.enter()))
        return context

    yield enter
    for context, token in reversed(entered):
        context.leave(token)


@pytest.fixture
def unfollowed():
    """Python's own executors, whatever was served in this process before."""
    before = follow.installed()
    follow.uninstall()
    yield
    if before:
        follow.install()


@pytest.mark.usefixtures("unfollowed")
def test_trace_lost_on_thread_or_executor(pool, within) -> None:
    """Known hard bug: the work goes on knowing its request; context variables carry the trace too.

    The naive twin is `Executor.submit`, which runs it in the empty context of its thread.
    """
    context = within(5.0)
    assert context is submit(pool, current).result()
    assert pool.submit(current).result() is None
    assert 5.0 == submit(pool, meshlib.deadline).result()


def test_arguments_and_results_pass(pool) -> None:
    """Also without a request."""
    assert 7 == result(submit(pool, int, "111", base=2))


def test_nobody_waits_longer_than_the_deadline(within) -> None:
    """What has not begun is cancelled."""
    within(0.05, real_clock)
    future: Future[int] = Future()
    with pytest.raises(DeadlineExceeded):
        result(future)
    assert future.cancelled()


def test_work_that_has_begun_goes_on(pool, within) -> None:
    """A thread cannot be stopped; its end is not waited for."""
    release = threading.Event()
    future = submit(pool, release.wait)
    within(0.05, real_clock)
    with pytest.raises(DeadlineExceeded):
        result(future)
    release.set()
    assert future.result()


def test_a_timeout_of_the_works_own_is_its_own(pool, within) -> None:
    """It is not taken for the deadline's."""
    within(60.0, real_clock)

    def fails():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        result(submit(pool, fails))


def test_after_the_deadline_nothing_is_begun(pool, within) -> None:
    """Neither submitting nor waiting."""
    within(-1.0)
    with pytest.raises(DeadlineExceeded):
        submit(pool, int)
    with pytest.raises(DeadlineExceeded):
        result(Future())
