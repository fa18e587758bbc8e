from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.config.routes import FAILURES, FallbackConfig
from meshlib.context import RequestContext
from meshlib.errors import NoEndpoint
from meshlib.model import Reply, Target
from meshlib.route.rules import Rules
from meshlib.route.split import whole
from meshlib.route.table import single
from meshlib.stack.fallback import KINDS
from meshlib.testing.script import Script, reset


def fall_back(world, **fallback):
    """Have this answer in place of errors."""
    rules = Rules(fallback=FallbackConfig(**fallback))
    world.destination.table.set(single(whole(Target("shop")), rules))


def test_every_word_means_an_error():
    """What a document may say and what the layer understands are the same."""
    assert set(FAILURES) == set(KINDS)


def test_an_error_that_is_listed_becomes_an_answer(world):
    """The caller gets the static reply, and the call tells what it stood in for."""
    fall_back(world, on=("failed",), status=203, body="[]", headers={"content-type": "x/y"})
    script = Script(reset())
    reply = world.call(script, method="POST")
    assert (203, b"[]", "x/y") == (reply.status, reply.content, reply.headers["content-type"])
    assert "Interrupted" == script.attempts[0].call.fell_back


def test_a_deadline_that_passes_is_one_too(world):
    """Though the deadline is raised above the route."""
    fall_back(world, on=("deadline",), status=200)

    def slow(attempt):
        world.clock.advance(20)
        return reset()

    assert 200 == world.call(Script(slow)).status


def test_an_error_that_is_not_listed_is_raised(world):
    """A fallback hides what it was told to hide and nothing else."""
    fall_back(world, on=("deadline",))
    world.bind()
    with pytest.raises(NoEndpoint):
        world.call(Script())


def test_a_status_is_not_an_error(world):
    """The service has spoken."""
    fall_back(world)
    assert 500 == world.call(Script(500)).status


def test_the_programs_own_fallback_is_asked_first(world):
    """It sees call and error, and may decline."""
    fall_back(world, on=("no-endpoint",), status=202)
    world.bind()
    seen = []

    def mine(call, error):
        seen.append((call.service, type(error)))
        return Reply(299) if len(seen) == 1 else None

    world.destination = replace(world.destination, fallback=mine)
    assert [299, 202] == [world.call(Script()).status for _ in range(2)]
    assert [("shop", NoEndpoint)] * 2 == seen


def test_the_programs_own_errors_are_not_hidden(world):
    """What is no CallError is a bug, not an outage."""
    fall_back(world)
    with pytest.raises(ZeroDivisionError):
        world.call(Script(ZeroDivisionError()))


def test_a_refusal_before_the_route_falls_back_as_well(world):
    """A call that comes too late has no route yet: it is looked up when it is needed."""
    fall_back(world, on=("deadline",), status=204)
    token = RequestContext(world.clock, deadline=world.clock.now - 1).enter()
    try:
        assert 204 == world.call(Script()).status
    finally:
        token.var.reset(token)
