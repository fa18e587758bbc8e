"""What the balancer learns from an attempt, and what it tells the caller."""

from __future__ import annotations

import asyncio

import pytest

from meshlib.config import HashConfig, HashKeyConfig, UpstreamConfig
from meshlib.errors import DeadlineExceeded
from meshlib.model import Reply
from meshlib.testing.script import Script, StreamedReply, endpoints, refused


def slow(world, seconds, line):
    """A line of a script that takes its time."""

    def play(attempt):
        world.clock.advance(seconds)
        return line

    return play


@pytest.fixture
def lone(world):
    """A world with one endpoint; what is believed of its latency."""
    world.bind(*endpoints(1))
    (state,) = world.upstream.states()

    def estimate():
        return state.latency.read(world.clock())

    return estimate


def test_a_reply_is_a_sample(world, lone):
    """The time until the reply is what the endpoint is believed to need."""
    world.call(Script(slow(world, 0.7, 200)))
    assert pytest.approx(0.7) == lone()


def test_a_streamed_reply_is_measured_at_its_head(world, lone):
    """How long the caller reads is not the endpoint's latency."""
    reply = world.call(Script(slow(world, 0.7, StreamedReply(200))))
    world.clock.advance(60.0)
    reply.close()
    assert pytest.approx(0.7) == lone()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fast_failure_looks_slow(world, lone, status):
    """429 and 5xx count as five seconds."""
    world.call(Script(slow(world, 0.001, status)), method="POST")
    assert pytest.approx(5.0) == lone()


def test_a_failure_looks_as_slow_as_it_asks(world, lone):
    """Retry-After is what the failure counts as."""
    world.call(Script(Reply(429, {"retry-after": "40"})), method="POST")
    assert pytest.approx(40.0) == lone()


def test_a_refused_connection_looks_slow(world, lone):
    """A connection that is refused at once counts as five seconds."""
    world.call(Script(refused(), 200))
    assert lone() > 4.0


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError("a bug of ours")])
def test_what_says_nothing_teaches_nothing(world, lone, error):
    """Neither a caller that went away nor a bug on our side changes the estimate."""
    before = lone()
    with pytest.raises(type(error)):
        world.call(Script(error))
    assert before == lone()


def test_running_out_of_time_raises_the_estimate(world, lone):
    """A host that hangs is slow, although nobody knows how slow."""
    with pytest.raises(DeadlineExceeded):
        world.call(Script(slow(world, 9.0, DeadlineExceeded("too late"))))
    assert pytest.approx(9.0) == lone()


def test_a_made_up_cookie_reaches_the_caller(world):
    """A caller without the cookie gets it with the reply, and comes back with it."""
    keys = (HashKeyConfig(cookie="who", ttl=60.0),)
    world.upstream.configure(UpstreamConfig(balancer="maglev", hashing=HashConfig(keys=keys)))
    reply = world.call(Script(200))
    [(name, value)] = reply.raw_headers
    assert b"set-cookie" == name
    crumb = value.decode().split(";")[0]
    again = [world.call(Script(200), headers={"cookie": crumb}) for _ in range(20)]
    assert {reply.endpoint} == {one.endpoint for one in again}
    assert {()} == {tuple(one.raw_headers) for one in again}
