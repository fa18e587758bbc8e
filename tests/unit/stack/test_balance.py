from __future__ import annotations

import asyncio
import threading

import pytest

from meshlib.errors import Interrupted, NoEndpoint, NoRoute
from meshlib.model import Bound, Call, Failed, Neg, Snapshot, Target
from meshlib.policy.breaker import State
from meshlib.route.table import straight
from meshlib.testing.script import Script, StreamedReply, endpoints, refused


def test_a_pick_is_held_until_the_body_has_ended(world):
    """An endpoint that still streams is busy."""
    reply = world.call(Script(StreamedReply(200)))
    assert world.pending == 1
    reply.close()
    assert world.pending == 0


def test_a_body_that_breaks_off_is_the_endpoints_failure(world):
    """Five broken bodies in a row open the breaker, whatever the status said."""
    world.bind(*endpoints(1))
    for _ in range(5):
        world.call(Script(StreamedReply(200))).close(Interrupted("cut off"))
    (state,) = world.upstream.states()
    assert State.OPEN is state.breaker.state


def test_failures_open_the_breaker_and_traffic_moves(world):
    """An endpoint that refuses is avoided after a while, not tried for ever."""
    dead = endpoints(1)[0]

    def play(attempt):
        return refused() if attempt.endpoint == dead else 200

    script = Script(play, for_ever=True)
    for _ in range(100):
        assert world.call(script).status == 200
    tail = script.endpoints[-50:]
    assert tail.count(dead) == 0


def test_an_unknown_service_names_what_is_known(world):
    """NoRoute says what there is instead."""
    world.upstream.update(Neg(("cart", "users")))
    with pytest.raises(NoRoute, match="cart, users"):
        world.call(Script())


def test_a_service_without_endpoints_says_so(world):
    """NoEndpoint carries the resolution."""
    world.bind()
    with pytest.raises(NoEndpoint) as caught:
        world.call(Script())
    assert Bound(Snapshot("shop", ())) == caught.value.resolution


def test_a_failed_discovery_says_why(world):
    """The cause of the registry's failure reaches the caller."""
    world.forget()
    world.upstream.update(Failed("disk on fire"))
    with pytest.raises(NoEndpoint, match="disk on fire"):
        world.call(Script())


def test_a_subset_nobody_is_in_says_so(world):
    """A split to a version that does not run is explained."""
    world.destination.table.set(straight(Target("shop", "v9")))
    world.upstream.set_subsets({"v9": lambda endpoint: False})
    with pytest.raises(NoEndpoint, match="v9"):
        world.call(Script())


def test_the_first_answer_of_discovery_is_waited_for(world):
    """A call made before discovery has answered goes out when it does."""
    world.forget()
    writer = threading.Thread(target=world.bind, args=endpoints(1))
    original = world.runtime.wait

    async def wait(signal, seconds):
        writer.start()
        return await original(signal, seconds)

    world.runtime = _Waiting(world.runtime, wait)
    assert world.call(Script(200)).status == 200
    writer.join()


class _Waiting:
    concurrent = False

    def __init__(self, runtime, wait):
        self.clock, self.rng, self.sleep, self.wait = (
            runtime.clock,
            runtime.rng,
            runtime.sleep,
            wait,
        )


def test_a_cancelled_call_is_neutral(world):
    """Known hard bug: cancellation gives the endpoint back and blames nobody.

    Fails when `classify` takes what is no failed attempt for a failure (hand mutation).
    """
    world.bind(*endpoints(1))

    async def main():
        begun = asyncio.Event()

        async def hang(attempt):
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(world.stack(hang)(Call("shop")))
        await begun.wait()
        assert world.pending == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(6):
        asyncio.run(main())
    assert world.pending == 0
    (state,) = world.upstream.states()
    assert State.CLOSED is state.breaker.state
