"""Shared rate limits, counted in a real Redis."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from meshlib.adapters.redis_limit import RedisRates
from meshlib.config import QuotaConfig, RatesConfig, ServingConfig, SharedRatesConfig
from meshlib.errors import ConfigError, MeshError
from meshlib.policy.rates import Rates, Visitor
from meshlib.serve.limits import Gate
from meshlib.testing.clock import FakeClock
from meshlib.watch import Watch

SLOWLY = 3600.0
"""Seconds of a quota that does not refill while a test runs."""
PATIENT = 5.0
"""Seconds of a timeout that is not what the test is about."""


def quota(limit, per=SLOWLY):
    return QuotaConfig(limit=limit, per=per)


def shared(url, **fields):
    return SharedRatesConfig(**{"url": url, "timeout": PATIENT, "total": quota(4), **fields})


def visitor(caller="a"):
    return Visitor(caller, "frontend", "GET", "/")


def rates(**fields):
    return Rates(FakeClock(), RatesConfig(**fields))


@pytest.fixture
def store(redis_server):
    made = RedisRates("shop", shared(redis_server.url))
    yield made
    made.close()


def gate_for(config, clock, *, instances=lambda: 1):
    return Gate(
        Watch(ServingConfig(shared_rate=config), ready=True),
        clock=clock,
        rng=random.Random(1),
        store=lambda config: RedisRates("shop", config),
        instances=instances,
    )


@pytest.fixture
def gates(redis_server):
    """Makes gates, and lets go of what they hold."""
    made = []

    def make(clock, *, instances=lambda: 1, **fields):
        made.append(gate_for(shared(redis_server.url, **fields), clock, instances=instances))
        return made[-1]

    yield make
    for gate in made:
        gate.close()


def test_two_processes_share_one_count(redis_server):
    """What one lets through is gone for the other."""
    asked = rates(total=quota(4)).asked(visitor())
    stores = [RedisRates("shop", shared(redis_server.url)) for _ in range(2)]
    taken = [stores[number % 2].take(asked) for number in range(6)]
    for store in stores:
        store.close()
    assert [None] * 4 == taken[:4]
    assert ["total", "total"] == [over.name for over in taken[4:]]
    assert 890 < taken[4].wait <= 900


def test_threads_together_get_the_burst_and_no_more(store):
    """The script is one step: nobody comes in between."""
    asked = rates(total=quota(25)).asked(visitor())
    let_in = []

    def client():
        let_in.extend(store.take(asked) is None for _ in range(20))

    threads = [threading.Thread(target=client) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (25, 100) == (sum(let_in), len(let_in))


def test_who_is_refused_by_one_is_counted_by_none(store):
    """As in this process: a greedy caller does not use up the total."""
    two = rates(total=quota(3), per_caller=quota(1))
    greedy = [store.take(two.asked(visitor("greedy"))) for _ in range(5)]
    assert [None, *["caller"] * 4] == [over and over.name for over in greedy]
    others = [store.take(two.asked(visitor(caller))) for caller in "bcd"]
    assert [None, None, "total"] == [over and over.name for over in others]


def test_it_decides_as_the_local_limiter_does(store):
    """The same wait, to the clocks' difference."""
    local, remote = rates(total=quota(3)), rates(total=quota(3)).asked(visitor())
    for _ in range(3):
        assert local.take(visitor()) is store.take(remote) is None
    assert local.take(visitor()).wait == pytest.approx(store.take(remote).wait, rel=0.01)


def test_a_quota_refills(store):
    """A thousand a second: after the wait it told, the next one passes."""
    asked = rates(total=QuotaConfig(limit=1000, burst=1)).asked(visitor())
    deadline = time.monotonic() + PATIENT
    let_in = 0
    while let_in < 50 and time.monotonic() < deadline:
        let_in += store.take(asked) is None
    assert 50 == let_in


def test_keys_expire(redis_server, store):
    """A key lasts until its bucket has run dry, and all of one service are in one slot."""
    store.take(rates(total=quota(60, per=60.0), per_caller=quota(60, per=30.0)).asked(visitor()))
    assert ["meshlib:rate:{shop}:caller:a", "meshlib:rate:{shop}:total:"] == redis_server.keys()
    assert 900 < redis_server.ttl("meshlib:rate:{shop}:total:") <= 1000


def test_async_does_not_block_the_loop(silent):
    """While Redis says nothing the loop turns, and after the timeout the answer is an error."""

    async def main():
        store = RedisRates("shop", shared(silent, timeout=0.2))
        question = asyncio.create_task(store.take_async(rates(total=quota(1)).asked(visitor())))
        turns = 0
        while not question.done():
            await asyncio.sleep(0)
            turns += 1
        with pytest.raises(MeshError, match="did not count"):
            question.result()
        return turns

    assert asyncio.run(main()) > 10


def test_async_counts_with_threads(store):
    """An ASGI and a WSGI instance of one service share the quota."""
    asked = rates(total=quota(4)).asked(visitor())

    async def main():
        return [await store.take_async(asked) for _ in range(2)]

    assert [None, None] == asyncio.run(main())
    assert [None, None, "total"] == [
        over and over.name for over in (store.take(asked) for _ in range(3))
    ]
    assert [["total"] * 2] == [[over.name for over in asyncio.run(main())]]


def test_a_sync_question_ends_with_the_timeout(silent):
    """A thread is not kept longer than it takes."""
    store = RedisRates("shop", shared(silent, timeout=0.05))
    with pytest.raises(MeshError, match="did not count"):
        store.take(rates(total=quota(1)).asked(visitor()))
    store.close()


def test_rl_server_down(redis_server, gates):
    """Known bug: the rate limiter's server is gone.  Each instance rescues with its share.

    Killed in the middle: of eight in the fleet's quota, one of two instances lets four more in,
    however much was counted before; the store is asked once in a pause.  Fails when `without_store`
    lets everybody in, and when the share of one instance is the whole (hand mutations).
    """
    clock = FakeClock()
    gate = gates(clock, instances=lambda: 2, total=quota(8))
    assert gate.turned_by_all(visitor()) is None
    redis_server.kill()
    turned = [gate.turned_by_all(visitor()) for _ in range(6)]
    assert [None] * 4 == turned[:4]
    assert [429, 429] == [each.status for each in turned[4:]]


def test_it_recovers_by_itself(redis_server, gates):
    """The first request after the pause asks again, and then all do."""
    clock = FakeClock()
    gate = gates(clock, total=quota(4), on_failure="deny")
    redis_server.kill()
    assert 429 == gate.turned_by_all(visitor()).status
    redis_server.start()
    assert 429 == gate.turned_by_all(visitor()).status
    clock.advance(1)
    turned = [gate.turned_by_all(visitor()) for _ in range(5)]
    assert [None] * 4 == turned[:4]
    assert "total" in turned[4].reason


@pytest.mark.parametrize(("mode", "lets"), [("allow", [True] * 9), ("deny", [False] * 9)])
def test_the_failure_mode_is_explicit(redis_server, gates, mode, lets):
    """Everybody or nobody, as configured."""
    redis_server.kill()
    gate = gates(FakeClock(), on_failure=mode)
    assert lets == [gate.turned_by_all(visitor()) is None for _ in range(9)]


def test_a_dead_store_costs_one_question_a_pause(silent):
    """Not every request waits for the timeout in turn."""
    clock, asked = FakeClock(), []

    class Counting(RedisRates):
        def take(self, question):
            asked.append(clock.now)
            return super().take(question)

    config = Watch(ServingConfig(shared_rate=shared(silent, timeout=0.02)), ready=True)
    gate = Gate(
        config,
        clock=clock,
        rng=random.Random(1),
        store=lambda config: Counting("shop", config),
        instances=lambda: 1,
    )
    for _ in range(30):
        gate.turned_by_all(visitor())
        clock.advance(0.1)
    gate.close()
    assert 3 == len(asked)


def test_the_store_goes_on_when_quotas_change(redis_server, gates):
    """Whoever used up the old quota has nothing left of a larger one at once."""
    config = Watch(ServingConfig(shared_rate=shared(redis_server.url)), ready=True)
    gate = Gate(
        config,
        clock=FakeClock(),
        rng=random.Random(1),
        store=lambda config: RedisRates("shop", config),
        instances=lambda: 1,
    )
    assert [None] * 4 == [gate.turned_by_all(visitor()) for _ in range(4)]
    config.set(ServingConfig(shared_rate=shared(redis_server.url, total=quota(5))))
    assert 429 == gate.turned_by_all(visitor()).status
    gate.close()


def test_a_url_that_is_none():
    """Refused when it is configured."""
    with pytest.raises(ConfigError, match="Redis URL"):
        SharedRatesConfig(url="http://127.0.0.1")


def test_shared_breaker_reset_on_worker_start(redis_server, gates):
    """Known hard bug (pybreaker 26): a worker that starts leaves what others counted as it is.

    What workers share here is the counts in the store, and a first look at them is a count.  Naive
    twin: a worker that puts its own beginning there before it has read, which lets four more in.
    """
    clock = FakeClock()
    old = gates(clock, total=quota(4))
    assert [None] * 4 == [old.turned_by_all(visitor()) for _ in range(4)]
    new = gates(clock, total=quota(4))
    assert [429, 429] == [gate.turned_by_all(visitor()).status for gate in (new, old)]
    redis_server.forget()
    naive = gates(clock, total=quota(4))
    assert [None] * 4 == [naive.turned_by_all(visitor()) for _ in range(4)]
