from __future__ import annotations

import asyncio
import random

import pytest

from meshlib.config import BudgetConfig, HedgeConfig, RetryConfig
from meshlib.errors import ConnectFailed, Interrupted
from meshlib.model import Call, Reply
from meshlib.observe.quiet import Quiet
from meshlib.runtime import AsyncRuntime, SyncRuntime
from meshlib.testing.script import StreamedReply, reset

ON = HedgeConfig(enabled=True, share=0.05)


@pytest.fixture
def drive():
    """Hedging needs a loop."""
    return asyncio.run


class Watched(AsyncRuntime):
    """Counts the races, and says when a second racer was asked for."""

    def __init__(self, clock):
        super().__init__(clock, random.Random(7))
        self.races, self.asked = 0, None

    async def race(self, first, seconds, second, wins):
        self.races += 1
        self.asked = asked = asyncio.Event()

        def ask():
            asked.set()
            return second()

        return await super().race(first, seconds, ask, wins)


@pytest.fixture
def hedging(world):
    """A world whose answers were quick so far."""
    world.runtime = Watched(world.clock)
    world.configure(hedge=ON)
    for _ in range(100):
        world.destination.latencies.observe(1e-4, world.clock())
    return world


class Hang:
    """Hangs in the attempts it is told to, and notes how they ended."""

    def __init__(self, *hanging, then=200, release=None):
        self.hanging, self.then, self.release = hanging, then, release or {}
        self.attempts, self.cancelled = [], []

    async def __call__(self, attempt):
        self.attempts.append(attempt)
        if attempt.number in self.hanging:
            await self._hang(attempt)
        outcome = self.release.get(attempt.number, self.then)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome if isinstance(outcome, Reply) else Reply(outcome)

    async def _hang(self, attempt):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(attempt.number)
            raise


class Until(Hang):
    """The first attempt ends when a second one was asked for, and has had its turn."""

    def __init__(self, runtime, **outcomes):
        super().__init__(1, **outcomes)
        self.runtime = runtime

    async def _hang(self, attempt):
        try:
            await self.runtime.asked.wait()
            for _ in range(10):  # turns of the loop, in which the second would end
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(attempt.number)
            raise


class Switch:
    """An engine that can be exchanged while the stack stands."""

    def __init__(self, engine):
        self.engine = engine

    async def __call__(self, attempt):
        return await self.engine(attempt)


def call_until_hedged(world, engine, **call):
    """Fill the hedge budget by quick calls, then make the call in question in the same loop."""

    async def main():
        switch = Switch(Hang())
        service = world.stack(switch)
        for _ in range(20):
            await service(Call("shop"))
        switch.engine = engine
        return await service(Call("shop", **call))

    return asyncio.run(main())


def test_a_slow_attempt_gets_company_and_loses(hedging) -> None:
    """The second answers, the first is cancelled, and its pick is neutral."""
    engine = Hang(1)
    assert call_until_hedged(hedging, engine).status == 200
    first, second = engine.attempts
    assert [1] == engine.cancelled
    assert first.endpoint != second.endpoint
    assert 0 == hedging.pending
    assert "ignored" == first.verdict.value


def test_hedge_failure_is_never_worse_than_none(hedging) -> None:
    """Known hard bug (failsafe-go 141): a hedge that fails at once does not end the call.

    Fails when `_answered` accepts any outcome (hand mutation).
    """
    engine = Until(hedging.runtime, release={2: reset()})
    assert call_until_hedged(hedging, engine).status == 200
    assert 2 == len(engine.attempts)
    assert 0 == hedging.pending


def test_an_error_of_our_own_in_the_hedge_is_not_the_calls(hedging) -> None:
    """Not even a bug in the hedge ends the first attempt."""
    assert (
        call_until_hedged(hedging, Until(hedging.runtime, release={2: ValueError()})).status == 200
    )


def test_two_failures_are_the_first_ones(hedging) -> None:
    """When nobody answers, the call ends as it would have ended alone."""
    hedging.configure(retry=RetryConfig(attempts=1))
    with pytest.raises(Interrupted, match="reset"):
        call_until_hedged(
            hedging, Until(hedging.runtime, release={1: reset(), 2: ConnectFailed("no")})
        )
    assert 0 == hedging.pending


def test_a_failed_reply_that_lost_is_discarded(hedging) -> None:
    """Its connection goes back to the pool."""
    failed = StreamedReply(503)
    engine = Until(hedging.runtime, release={2: failed})
    assert call_until_hedged(hedging, engine).status == 200
    assert 1 == failed.discarded
    assert 0 == hedging.pending


def test_without_budget_the_first_goes_on_alone(hedging) -> None:
    """Known hard bug (failsafe-go 141): an exhausted budget forbids the hedge, not the call.

    Fails when `second` raises instead of returning None (hand mutation).
    """
    hedging.configure(retry=RetryConfig(budget=BudgetConfig(share=0.0, floor=0.0)))
    engine = Until(hedging.runtime)
    assert call_until_hedged(hedging, engine).status == 200
    assert 1 == len(engine.attempts)
    assert [] == engine.cancelled


def test_the_hedges_own_budget_is_a_small_share(hedging) -> None:
    """At 5 % there is one hedge for twenty calls, and none for the next one."""
    engine = Hang(1)

    async def main():
        switch = Switch(Hang())
        service = hedging.stack(switch)
        for _ in range(19):
            await service(Call("shop"))
        switch.engine = engine
        assert (await service(Call("shop"))).status == 200
        switch.engine = alone = Until(hedging.runtime)
        assert (await service(Call("shop"))).status == 200
        return alone

    alone = asyncio.run(main())
    assert 2 == len(engine.attempts)
    assert 1 == len(alone.attempts)


def test_a_hedge_spends_the_requests_credit(hedging) -> None:
    """A hedge is an extra attempt like any other: without credit there is none."""
    hedging.configure(retry=RetryConfig(credit=0))
    engine = Until(hedging.runtime)
    call_until_hedged(hedging, engine)
    assert 1 == len(engine.attempts)


class Stream:
    """A body that is read while it is sent."""

    replayable, whole = True, False


@pytest.mark.parametrize("call", [{"method": "POST"}, {"body": Stream()}], ids=["POST", "stream"])
def test_what_cannot_be_sent_twice_at_once_is_not_hedged(hedging, call) -> None:
    """Only idempotent calls whose bytes are all there."""
    hedging.runtime.races = 0
    assert call_until_hedged(hedging, Hang(), **call).status == 200
    assert 20 == hedging.runtime.races  # those before


def test_off_is_the_default(hedging) -> None:
    """Nobody is hedged who did not ask for it."""
    hedging.configure(hedge=HedgeConfig())
    call_until_hedged(hedging, Hang())
    assert 0 == hedging.runtime.races


def test_cancelling_the_call_ends_both(hedging) -> None:
    """No attempt outlives its call."""
    engine = Hang(1, 2)
    begun = []

    async def main():
        both = asyncio.Event()

        async def hang(attempt):
            begun.append(attempt)
            if len(begun) == 2:
                both.set()
            return await engine(attempt)

        switch = Switch(Hang())
        service = hedging.stack(switch)
        for _ in range(20):
            await service(Call("shop"))
        switch.engine = hang
        task = asyncio.create_task(service(Call("shop")))
        await both.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [1, 2] == sorted(engine.cancelled)
    assert 0 == hedging.pending


def test_a_synchronous_client_says_that_it_does_not_hedge(hedging, caplog) -> None:
    """The setting is not ignored in silence."""
    hedging.runtime = SyncRuntime(hedging.clock, random.Random(7))
    hedging.stack(Hang())
    assert "do not hedge" in caplog.text


@pytest.mark.parametrize(
    ("engine", "outcome"),
    [
        (lambda world: Hang(1), "won"),
        (lambda world: Until(world.runtime, release={2: reset()}), "lost"),
    ],
)
def test_a_hedge_is_an_event(hedging, engine, outcome) -> None:
    """Once a hedge, with how it ended; calls that need none tell nothing."""
    told = []

    class Ear(Quiet):
        def call_hedged(self, call, outcome):
            told.append((call.attempts, call.extra, outcome))

    hedging.listener = Ear()
    call_until_hedged(hedging, engine(hedging))
    assert [(2, 1, outcome)] == told
