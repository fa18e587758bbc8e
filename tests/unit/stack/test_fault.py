from __future__ import annotations

import random

import pytest

from meshlib.config.routes import FaultConfig
from meshlib.errors import DeadlineExceeded
from meshlib.model import Call, Reply, Target
from meshlib.route.rules import Rules
from meshlib.route.split import whole
from meshlib.route.table import single
from meshlib.runtime import SyncRuntime, run_sync
from meshlib.stack.fault import Fault, Trouble, draw
from meshlib.testing.script import Script


def inflict(world, **fault):
    """Make this trouble for every call."""
    rules = Rules(fault=FaultConfig(**fault))
    world.destination.table.set(single(whole(Target("shop")), rules))


def test_an_abort_is_answered_and_not_sent(world):
    """It is marked, and it is not retried away."""
    inflict(world, abort=503)
    reply = world.call(Script())
    assert (503, "abort") == (reply.status, reply.headers["x-mesh-fault"])
    assert [] == world.clock.slept


def test_a_delay_comes_before_the_call(world):
    """The call still gets its answer."""
    inflict(world, delay=2.0)
    assert 200 == world.call(Script(200)).status
    assert [2.0] == world.clock.slept


def test_a_delay_ends_with_the_deadline(world):
    """Nothing is sent for a caller that has gone."""
    inflict(world, delay=100.0)
    with pytest.raises(DeadlineExceeded, match="fault rule"):
        world.call(Script())
    assert [15.0] == world.clock.slept


def test_the_same_chance_makes_the_same_trouble():
    """Decisions come of the generator alone; the share is that of the document."""
    fault = FaultConfig(abort=500, abort_percent=10.0)
    drawn = [[draw(fault, Call("shop"), rng).abort for _ in range(10_000)] for rng in seeded()]
    assert drawn[0] == drawn[1]
    assert 900 < sum(1 for abort in drawn[0] if abort) < 1100


def seeded():
    """Two generators that say the same."""
    return random.Random(3), random.Random(3)


@pytest.mark.parametrize(
    ("headers", "allowed", "refused"),
    [
        ({"x-mesh-fault-abort": "418"}, Trouble(1.0, 418), Trouble(1.0)),
        ({"x-mesh-fault-delay": "250"}, Trouble(0.25), Trouble(1.0)),
        ({"x-mesh-fault-abort": "99"}, Trouble(1.0), Trouble(1.0)),
        ({"x-mesh-fault-abort": "1e3"}, Trouble(1.0), Trouble(1.0)),
        ({"x-mesh-fault-delay": "9" * 400}, Trouble(1.0), Trouble(1.0)),
        ({"x-mesh-fault-delay": "٣"}, Trouble(1.0), Trouble(1.0)),
    ],
)
def test_headers_make_trouble_only_where_a_document_lets_them(headers, allowed, refused):
    """And only with numbers in range; anything else asks for nothing."""
    call, rng = Call("shop", headers=headers), random.Random(1)
    assert allowed == draw(FaultConfig(delay=1.0, from_headers=True), call, rng)
    assert refused == draw(FaultConfig(delay=1.0), call, rng)


def test_the_share_holds_for_headers_too():
    """A document that lets nobody through lets no header through."""
    call = Call("shop", headers={"x-mesh-fault-abort": "500"})
    fault = FaultConfig(from_headers=True, abort_percent=0.0)
    assert not draw(fault, call, random.Random(1))


def test_how_many_suffer_at_a_time_is_bounded(clock):
    """While one is held up, the next one is left alone; then there is room again."""
    answers = []

    def sleep(seconds):
        if not answers:
            answers.append("asked")
            answers[:] = [run_sync(stack(call())).status]

    async def inner(call):
        return Reply(200)

    def call():
        made = Call("shop")
        made.rules = Rules(fault=FaultConfig(delay=1.0, abort=500, max_active=1))
        return made

    stack = Fault(SyncRuntime(clock, random.Random(1), sleep=sleep))(inner)
    assert 500 == run_sync(stack(call())).status
    assert [200] == answers
    assert 500 == run_sync(stack(call())).status
