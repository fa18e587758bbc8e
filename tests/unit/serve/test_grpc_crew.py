"""Threads that take RPCs by the handful, from a pool that may have other work."""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshlib.policy.enough import FEW, Enough
from meshlib.serve.grpc.crew import TURNS, Crew, crew_of

PATIENCE = 20.0


@pytest.fixture(params=[1, 3])
def pool(request):
    with ThreadPoolExecutor(request.param) as made:
        yield made


def test_everything_is_done_once(pool):
    """Whatever the threads were doing when it came."""
    crew, rng = crew_of(pool, {}, time.monotonic), random.Random(7)
    done, threads, ended = [], set(), threading.Event()

    def do(number, rounds):
        for _ in range(rounds):
            threading.Event().wait(0)
        threads.add(threading.get_ident())
        done.append(number)
        if len(done) == 20 * TURNS:
            ended.set()

    for number in range(20 * TURNS):
        crew.submit(do, number, rng.choice((0, 0, 3)))
        if rng.random() < 0.01:
            pool.submit(int).result(PATIENCE)
    assert ended.wait(PATIENCE)
    assert sorted(done) == list(range(20 * TURNS))
    assert threading.get_ident() not in threads


def test_as_many_at_a_time_as_the_pool_has_threads():
    """What waits for another RPC of the same server gets it, time and again."""
    with ThreadPoolExecutor(8) as pool:
        crew, together = crew_of(pool, {}, time.monotonic), threading.Barrier(9)
        for _ in range(30):
            for _ in range(8):
                crew.submit(together.wait, PATIENCE)
            together.wait(PATIENCE)


def test_other_work_of_the_pool_gets_its_turn():
    """Before the RPCs that are queued are done, however many these are."""
    with ThreadPoolExecutor(1) as pool:
        crew, began, go, order = (
            crew_of(pool, {}, time.monotonic),
            threading.Event(),
            threading.Event(),
            [],
        )
        crew.submit(began.set)
        crew.submit(go.wait, PATIENCE)
        assert began.wait(PATIENCE)
        for number in range(3 * TURNS):
            crew.submit(order.append, number)
        other = pool.submit(order.append, "other")
        last = threading.Event()
        crew.submit(last.set)
        go.set()
        other.result(PATIENCE)
        assert last.wait(PATIENCE)
    assert order.index("other") <= 2 * TURNS
    assert [*range(3 * TURNS)] == [each for each in order if each != "other"]


def test_threads_go_back_when_there_is_nothing_to_do(pool):
    """A pool is free again some time after the last RPC."""
    crew = crew_of(pool, {}, time.monotonic)
    for _ in range(3):
        for _ in range(5):
            crew.submit(int)
        for each in [pool.submit(int) for _ in range(8)]:
            assert 0 == each.result(PATIENCE)


def test_a_pool_that_is_shut_down():
    """What was taken is done; more is refused, as the pool refuses it."""
    pool, done = ThreadPoolExecutor(1), []
    crew, go = crew_of(pool, {}, time.monotonic), threading.Event()
    crew.submit(go.wait, PATIENCE)
    for number in range(3 * TURNS):
        crew.submit(done.append, number)
    pool.shutdown(wait=False)
    go.set()
    pool.shutdown()
    assert [*range(3 * TURNS)] == done
    with pytest.raises(RuntimeError, match="shutdown"):
        crew.submit(int)


def test_what_is_refused_is_not_done():
    """Not even by a thread that is still there when the pool takes no more."""
    pool, done = ThreadPoolExecutor(1), []
    crew, began, go = crew_of(pool, {}, time.monotonic), threading.Event(), threading.Event()
    crew.submit(lambda: (began.set(), go.wait(PATIENCE)))
    assert began.wait(PATIENCE)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shutdown"):
        crew.submit(done.append, 1)
    go.set()
    pool.shutdown()
    assert [] == done


def test_threads_that_wait_call_for_more():
    """As many as there are, while the processor has time to spare."""
    enough = Enough(time.monotonic, lambda: 0.0)
    with ThreadPoolExecutor(FEW + 4) as pool:
        crew, together = Crew(pool, enough), threading.Barrier(FEW + 5)
        for _ in range(FEW + 4):
            crew.submit(together.wait, PATIENCE)
        together.wait(PATIENCE)
    assert FEW < enough.threads <= FEW + 4


def test_threads_that_compute_are_sent_away(pool):
    """Down to a few, where all of them need one processor."""
    enough = Enough(time.monotonic, time.monotonic)
    for _ in range(8 * FEW):
        enough.more()
    crew, done = Crew(pool, enough), threading.Semaphore(0)
    for _ in range(20):
        for _ in range(TURNS):
            crew.submit(lambda: (threading.Event().wait(0), done.release()))
        assert all(done.acquire(timeout=PATIENCE) for _ in range(TURNS))
    assert enough.threads == FEW


def test_a_thread_outlives_what_it_does(caplog):
    """Somebody who ends the thread ends one RPC, and that is said."""
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.ERROR, "meshlib.serve"):
        crew, seen = crew_of(pool, {}, time.monotonic), []

        def leave():
            seen.append(threading.get_ident())
            raise SystemExit(3)

        after = threading.Event()
        crew.submit(leave)
        crew.submit(lambda: (seen.append(threading.get_ident()), after.set()))
        assert after.wait(PATIENCE)
    assert seen[0] == seen[1]
    assert ["an RPC ended in a way that grpcio does not expect"] == caplog.messages


def test_who_needs_the_pool_itself_has_it():
    """A pool with a `submit` of its own, and a server that counts its RPCs."""

    class Counting(ThreadPoolExecutor):
        """Means more by `submit`."""

    with ThreadPoolExecutor(1) as pool, Counting(1) as own:
        assert own is crew_of(own, {}, time.monotonic)
        assert pool is crew_of(pool, {"maximum_concurrent_rpcs": 3}, time.monotonic)
        assert isinstance(crew_of(pool, {"maximum_concurrent_rpcs": None}, time.monotonic), Crew)
        assert 7 == crew_of(pool, {}, time.monotonic).submit(int, "7", base=10).result(PATIENCE)
