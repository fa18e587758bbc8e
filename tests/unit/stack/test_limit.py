"""Limits and circuits as calls meet them, in both worlds."""

from __future__ import annotations

import asyncio

import pytest

from meshlib.config import (
    BackoffConfig,
    BulkheadConfig,
    CircuitConfig,
    ConcurrencyConfig,
    QuotaConfig,
    RetryConfig,
    UpstreamConfig,
)
from meshlib.errors import Rejected
from meshlib.model import Call
from meshlib.policy.circuit import CircuitState
from meshlib.policy.guards import Guards
from meshlib.policy.priority import priority
from meshlib.runtime import AsyncRuntime, run_sync
from meshlib.stack.client import Destination, client_stack
from meshlib.testing.script import Script, StreamedReply, refused, reset


def limited(world, **config):
    """Give the world's destination these limits; returns them."""
    made = UpstreamConfig(**config)
    world.destination.config.set(made)
    guards = Guards("shop", world.clock, world.runtime.rng, made)
    fields = {name: getattr(world.destination, name) for name in Destination.__slots__}
    world.destination = Destination(**{**fields, "guards": guards})
    return guards


def test_without_limits_there_are_none(world):
    """Nothing is counted, and the layers cost one look."""
    guards = limited(world)
    assert 200 == world.call(Script(200)).status
    assert (False, None) == (guards.limiting, guards.circuits)


def test_the_rate(world):
    """Three calls, and the fourth says when to come again; time brings the next."""
    limited(world, rate=QuotaConfig(limit=3, per=60))
    engine = Script(200, for_ever=True)
    assert [200] * 3 == [world.call(engine).status for _ in range(3)]
    with pytest.raises(Rejected, match="again in 20 s") as caught:
        world.call(engine)
    assert "rate" == caught.value.by
    assert 3 == len(engine.attempts)
    world.clock.advance(20)
    assert 200 == world.call(engine).status


def test_a_place_is_kept_until_the_body_has_ended(world):
    """A reply that streams is still in flight."""
    guards = limited(world, concurrency=ConcurrencyConfig(limit=1), bulkhead=BulkheadConfig())
    body = StreamedReply(200)
    reply = world.call(Script(body))
    with pytest.raises(Rejected, match="the limit is 1") as caught:
        world.call(Script(200))
    assert "concurrency" == caught.value.by
    assert (1, 1, 1) == (
        guards.concurrency.in_flight,
        guards.bulkhead.requests,
        guards.bulkhead.connections,
    )
    reply.close()
    assert (0, 0, 0) == (
        guards.concurrency.in_flight,
        guards.bulkhead.requests,
        guards.bulkhead.connections,
    )
    assert 200 == world.call(Script(200)).status


def test_what_fails_gives_its_places_back(world):
    """Refused at once, broken on the wire or a bug: nothing stays counted."""
    guards = limited(
        world,
        rate=QuotaConfig(limit=1, per=1e9, burst=2),
        concurrency=ConcurrencyConfig(limit=1),
        bulkhead=BulkheadConfig(requests=1, connections=1, pending=0, retries=1),
    )
    with pytest.raises(ZeroDivisionError):
        world.call(Script(ZeroDivisionError()))
    assert 200 == world.call(Script(refused(), reset(), 200)).status
    with pytest.raises(Rejected):
        world.call(Script(200))
    bulkhead = guards.bulkhead
    assert 0 == guards.concurrency.in_flight
    assert (0, 0, 0) == (bulkhead.requests, bulkhead.connections, bulkhead.retries)


def test_max_requests(world):
    """A call counts however many attempts it makes."""
    guards = limited(world, bulkhead=BulkheadConfig(requests=1))
    guards.bulkhead.try_request()
    with pytest.raises(Rejected, match="1 calls are under way"):
        world.call(Script(200))


def test_max_retries(world):
    """With no retry to spare the first outcome is the outcome."""
    limited(world, bulkhead=BulkheadConfig(retries=0))
    assert 503 == world.call(Script(503)).status


def test_a_retried_call_holds_one_retry(world):
    """However often it is tried again."""
    guards = limited(
        world,
        bulkhead=BulkheadConfig(retries=1),
        retry=RetryConfig(attempts=4, backoff=BackoffConfig(base=0, cap=0)),
    )
    seen = []

    def look(_attempt):
        seen.append(guards.bulkhead.retries)
        return 503 if len(seen) < 3 else 200

    assert 200 == world.call(Script(look, for_ever=True)).status
    assert [0, 1, 1] == seen


def test_who_waits_for_a_connection_gets_it_in_turn():
    """Places on the wire are handed over in the order of asking."""
    open_ = []

    async def main(world_of):
        runtime = AsyncRuntime()
        guards = Guards(
            "shop",
            runtime.clock,
            runtime.rng,
            UpstreamConfig(bulkhead=BulkheadConfig(connections=1, pending=2)),
        )

        async def engine(attempt):
            entered.put_nowait(attempt.call.path)
            gate = asyncio.Event()
            open_.append(gate)
            await gate.wait()
            return StreamedReply(200)

        entered, stack = asyncio.Queue(), world_of(guards, runtime, engine)
        tasks = []
        for path in "abc":
            tasks.append(asyncio.create_task(stack(Call("shop", path=path))))
            await asyncio.sleep(0)
        with pytest.raises(Rejected, match="2 are waiting"):
            await stack(Call("shop", path="d"))
        assert (1, 2) == (guards.bulkhead.connections, guards.bulkhead.pending)
        tasks[2].cancel()
        await asyncio.wait([tasks[2]])
        assert (1, 1) == (guards.bulkhead.connections, guards.bulkhead.pending)
        open_[0].set()
        reply = await tasks[0]
        assert ("a", 0) == (await entered.get(), entered.qsize())
        reply.close()
        assert "b" == await entered.get()
        open_[1].set()
        (await tasks[1]).close()
        assert (0, 0) == (guards.bulkhead.connections, guards.bulkhead.pending)

    from meshlib.stack.limit import Limit, OnTheWire

    def world_of(guards, runtime, engine):
        wire = OnTheWire(runtime, guards)(engine)

        async def attempts(call):
            from meshlib.model import Attempt

            return await wire(Attempt(call))

        return Limit(runtime, guards)(attempts)

    asyncio.run(main(world_of))


def test_a_wait_ends_with_the_deadline(world):
    """Who got no connection in time is refused, and waits no more."""
    guards = limited(world, bulkhead=BulkheadConfig(connections=1), timeout=0.01)
    guards.bulkhead.enter()
    with pytest.raises(Rejected, match="until the deadline"):
        world.call(Script(200))
    assert (1, 0) == (guards.bulkhead.connections, guards.bulkhead.pending)


def test_the_circuit(world):
    """It opens on what callers get: calls that a retry saved are none of the failures."""
    guards = limited(
        world,
        circuit=CircuitConfig(calls=4),
        retry=RetryConfig(attempts=2, backoff=BackoffConfig(base=0, cap=0)),
    )
    for _ in range(4):
        assert 200 == world.call(Script(503, 200)).status
    for _ in range(4):
        world.call(Script(500), method="GET")
    assert CircuitState.OPEN is guards.circuits.of("GET").state
    with pytest.raises(Rejected, match="asks again in") as caught:
        world.call(Script(200))
    assert "breaker" == caught.value.by
    assert 200 == world.call(Script(200), method="POST").status
    world.clock.advance(8)
    for _ in range(3):
        assert 200 == world.call(Script(200)).status
    assert CircuitState.CLOSED is guards.circuits.of("GET").state


def test_a_cancelled_probe_gives_its_lease_back():
    """Stuck half-open: the caller of the probe goes away."""
    from meshlib.stack.circuit import CircuitBreaker

    async def main():
        runtime = AsyncRuntime()
        config = UpstreamConfig(circuit=CircuitConfig(calls=1, cooldown=1e-9, jitter=0))
        guards = Guards("shop", runtime.clock, runtime.rng, config)
        reached = asyncio.Event()

        async def failing(call):
            return StreamedReply(500)

        async def hanging(call):
            reached.set()
            await asyncio.Event().wait()

        await CircuitBreaker(runtime, guards)(failing)(Call("shop"))
        probe = asyncio.create_task(CircuitBreaker(runtime, guards)(hanging)(Call("shop")))
        await reached.wait()
        circuit = guards.circuits.of("GET")
        assert circuit.acquire() is None
        probe.cancel()
        await asyncio.wait([probe])
        assert circuit.acquire() is not None

    asyncio.run(main())


def test_reconfiguring_keeps_the_counts(world):
    """What is in flight stays counted, and what is switched off lets everything pass."""
    guards = limited(world, concurrency=ConcurrencyConfig(limit=2))
    reply = world.call(Script(StreamedReply(200)))
    guards.configure(UpstreamConfig(concurrency=ConcurrencyConfig(limit=1)))
    with pytest.raises(Rejected, match="the limit is 1"):
        world.call(Script(200))
    guards.configure(UpstreamConfig())
    assert 200 == world.call(Script(200)).status
    reply.close()


def test_priorities_travel(world):
    """What is not ordinary is said on the wire."""
    engine = Script(200, for_ever=True)
    stack = client_stack(
        world.destination,
        engine,
        runtime=world.runtime,
        tracer=world.tracer,
        listener=world.listener,
    )
    with priority(0):
        run_sync(stack(Call("shop")))
    run_sync(stack(Call("shop")))
    said = [attempt.headers.get("x-mesh-priority") for attempt in engine.attempts]
    assert ["0", None] == said


def test_priorities_end_at_seven():
    """There is no eight."""
    with pytest.raises(ValueError, match=r"0\.\.7"), priority(8):
        pass
