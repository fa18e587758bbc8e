"""Requests are followed into threads, and nothing else is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from meshlib import follow
from meshlib.context import RequestContext, current
from meshlib.runtime import real_clock

word = ContextVar("word", default="none")


@pytest.fixture
def following():
    """Only here."""
    follow.install()
    yield
    follow.uninstall()


@pytest.fixture
def request_():
    """One that is being served."""
    context = RequestContext(real_clock, deadline=real_clock() + 60)
    tokens = context.enter(), word.set("request")
    yield context
    word.reset(tokens[1])
    context.leave(tokens[0])


class Own(threading.Thread):
    """A thread that is told what to do by its class."""

    def run(self):
        self.seen = current(), word.get()


def in_thread(made):
    """What a thread of that kind sees."""
    thread = made()
    thread.start()
    thread.join()
    return thread.seen


@pytest.mark.usefixtures("following")
def test_a_thread_belongs_to_its_request(request_):
    """Of whatever class it is, and it may be looked at afterwards."""
    assert (request_, "request") == in_thread(Own)
    seen, timer = [], threading.Timer(0, lambda: seen.append(current()))
    timer.start()
    timer.join()
    assert [request_] == seen
    assert "run" not in vars(timer)


@pytest.mark.usefixtures("following")
def test_jobs_belong_to_their_requests_and_threads_of_pools_to_none(request_):
    """A pool that was made by one request serves others, and those who have none."""
    with ThreadPoolExecutor(1) as pool:
        assert request_ is pool.submit(current).result()
        assert [request_] * 3 == list(pool.map(lambda _: current(), range(3)))
        token = request_.enter()
        request_.leave(token)
        assert "none" == pool.submit(word.get).result()
        request_.ended = False


@pytest.mark.usefixtures("following")
def test_what_is_no_request_s_is_left_alone(request_):
    """Threads of the mesh itself, and those started outside of any request."""

    class Mine(Own):
        def __init__(self):
            super().__init__(name=f"{follow.OURS}worker")

    assert (None, "none") == in_thread(Mine)
    request_.ended = True
    assert (None, "none") == in_thread(Own)
    request_.ended = False


def test_it_can_be_taken_back(request_):
    """Nothing of it is left, however often it was installed."""
    before = threading.Thread.start, ThreadPoolExecutor.submit
    follow.install()
    follow.install()
    assert follow.installed()
    follow.uninstall()
    assert before == (threading.Thread.start, ThreadPoolExecutor.submit)
    assert (None, "none") == in_thread(Own)


@pytest.mark.usefixtures("following")
def test_a_job_that_raises_raises(request_):
    """The context changes nothing about results."""
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result()
