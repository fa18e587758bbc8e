"""Threads that take RPCs by the handful, from a pool that may have other work."""

from __future__ import annotations

import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshlib.serve.grpc.crew import TURNS, Crew, crew_of

PATIENCE = 20.0


@pytest.fixture(params=[1, 3])
def pool(request):
    with ThreadPoolExecutor(request.param) as made:
        yield made


def test_everything_is_done_once(pool):
    """Whatever the threads were doing when it came."""
    crew, rng = Crew(pool), random.Random(7)
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
        crew, together = Crew(pool), threading.Barrier(9)
        for _ in range(30):
            for _ in range(8):
                crew.submit(together.wait, PATIENCE)
            together.wait(PATIENCE)


def test_other_work_of_the_pool_gets_its_turn():
    """Before the RPCs that are queued are done, however many these are."""
    with ThreadPoolExecutor(1) as pool:
        crew, began, go, order = Crew(pool), threading.Event(), threading.Event(), []
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
    crew = Crew(pool)
    for _ in range(3):
        for _ in range(5):
            crew.submit(int)
        for each in [pool.submit(int) for _ in range(8)]:
            assert 0 == each.result(PATIENCE)


def test_a_pool_that_is_shut_down():
    """What was taken is done; more is refused, as the pool refuses it."""
    pool, done = ThreadPoolExecutor(1), []
    crew, go = Crew(pool), threading.Event()
    crew.submit(go.wait, PATIENCE)
    for number in range(3 * TURNS):
        crew.submit(done.append, number)
    pool.shutdown(wait=False)
    go.set()
    pool.shutdown()
    assert [*range(3 * TURNS)] == done
    with pytest.raises(RuntimeError, match="shutdown"):
        crew.submit(int)


def test_a_thread_outlives_what_it_does(caplog):
    """Somebody who ends the thread ends one RPC, and that is said."""
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.ERROR, "meshlib.serve"):
        crew, seen = Crew(pool), []

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
        assert own is crew_of(own, {})
        assert pool is crew_of(pool, {"maximum_concurrent_rpcs": 3})
        assert isinstance(crew_of(pool, {"maximum_concurrent_rpcs": None}), Crew)
        assert 7 == Crew(pool).submit(int, "7", base=10).result(PATIENCE)
