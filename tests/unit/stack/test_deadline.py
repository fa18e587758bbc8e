from __future__ import annotations

from contextlib import suppress
from math import inf

import pytest

from meshlib.config import BackoffConfig, BudgetConfig, RetryConfig
from meshlib.context import RequestContext
from meshlib.errors import DeadlineExceeded, Interrupted
from meshlib.testing.script import Script, reset


def late(world, seconds):
    """An attempt that breaks after so long."""

    def play(attempt):
        world.clock.advance(seconds)
        return reset()

    return play


def test_the_policy_gives_a_deadline(world):
    """Without a word from the user the call has the policy's 15 s."""
    script = Script(200)
    world.call(script)
    assert world.clock() + 15 == pytest.approx(script.attempts[0].deadline)


def test_the_user_may_ask_for_less(world):
    """The user's timeout beats the policy's."""
    script = Script(200)
    world.call(script, timeout=2.0)
    assert world.clock() + 2 == pytest.approx(script.attempts[0].deadline)


def test_the_user_may_wait_for_ever(world):
    """An infinite timeout means no deadline."""
    script = Script(200)
    world.call(script, timeout=inf)
    assert inf == script.attempts[0].deadline


def test_patience_with_silence_stretches_the_policy(world):
    """Who would bear 60 s of silence is not cut off after 15."""
    script = Script(200)
    world.call(script, read_timeout=60.0)
    assert world.clock() + 60 == pytest.approx(script.attempts[0].deadline)


def test_an_attempt_that_used_the_time_up_is_a_deadline_exceeded(world):
    """The failure of the last attempt is told as what it is: no time left."""
    with pytest.raises(DeadlineExceeded) as caught:
        world.call(Script(late(world, 20)))
    assert 20 == pytest.approx(caught.value.elapsed)
    assert isinstance(caught.value.__cause__, Interrupted)
    assert caught.value.attempts == 1


def test_a_failure_before_the_deadline_stays_what_it_is(world):
    """Only time makes a DeadlineExceeded."""
    with pytest.raises(Interrupted):
        world.call(Script(late(world, 1)), method="POST")


def test_a_pause_that_would_pass_the_deadline_is_not_made(world):
    """There is no use in waiting for an attempt that could not be made."""
    script = Script(503)
    assert world.call(script, timeout=1e-9).status == 503
    assert world.clock.slept == []


def test_the_per_try_timeout_cuts_an_attempt(world):
    """An attempt ends by itself where the policy says so."""
    world.configure(retry=type(world.destination.config.value.retry)(per_try_timeout=0.5))
    script = Script(200)
    world.call(script)
    assert world.clock() + 0.5 == pytest.approx(script.attempts[0].deadline)


@pytest.fixture
def served(world):
    """Calls are made while a request is being served, whose caller waits for 5 s more."""
    context = RequestContext(world.clock, deadline=world.clock() + 5, credit=4)
    token = context.enter()
    yield context
    context.leave(token)


def test_the_requests_deadline_is_the_calls(world, served):
    """A call ends when the request it is made for does, whatever user and policy say."""
    script = Script(200, for_ever=True)
    for timeout in (None, inf, 60.0):
        world.call(script, timeout=timeout)
        assert world.clock() + 5 == pytest.approx(script.attempts[-1].deadline)
    world.call(script, timeout=2.0)
    assert world.clock() + 2 == pytest.approx(script.attempts[-1].deadline)


def test_nothing_is_sent_when_nobody_waits(world, served):
    """After the request's deadline its calls fail at once."""
    world.clock.advance(6)
    script = Script()
    with pytest.raises(DeadlineExceeded, match="was not sent"):
        world.call(script)
    assert [] == script.attempts
    assert served.futile


def test_a_request_that_has_ended_binds_nobody(world, served):
    """What a handler goes on doing after its answer has no deadline of its caller's."""
    served.ended = True
    world.clock.advance(6)
    script = Script(200)
    world.call(script)
    assert world.clock() + 15 == pytest.approx(script.attempts[0].deadline)


def test_each_attempt_says_how_long_it_is_waited_for(world, served):
    """Milliseconds left, in our own word and Envoy's, less with every attempt."""

    def slow(attempt):
        world.clock.advance(1.5)
        return reset()

    world.configure(retry=RetryConfig(backoff=BackoffConfig(base=0.0, cap=0.0)))
    script = Script(slow, 200)
    world.call(script)
    said = [attempt.headers for attempt in script.attempts]
    assert ["5000", "3500"] == [headers["x-mesh-deadline-ms"] for headers in said]
    assert ["5000", "3500"] == [headers["x-envoy-expected-rq-timeout-ms"] for headers in said]


def test_no_deadline_says_nothing(world):
    """Who waits for ever does not say so."""
    script = Script(200)
    world.call(script, timeout=inf)
    assert "x-mesh-deadline-ms" not in script.attempts[0].headers


def test_an_adaptive_limit_is_twice_the_tail(world):
    """Attempts another may follow are given up after twice the 99th percentile, the last is not."""
    world.configure(retry=RetryConfig(adaptive_timeout=True))
    for _ in range(100):
        world.destination.latencies.observe(0.2, world.clock())
    script = Script(reset(), for_ever=True)
    with pytest.raises(Interrupted):
        world.call(script, timeout=10.0)
    began = world.clock() - sum(world.clock.slept)
    limits = [attempt.deadline - began for attempt in script.attempts]
    assert 0.4 <= limits[0] <= 0.45
    assert 10 == pytest.approx(limits[2])
    script = Script(200)
    world.call(script, method="POST", timeout=10.0)
    assert world.clock() + 10 == pytest.approx(script.attempts[0].deadline)


def test_an_attempt_that_was_cut_counts_as_one_that_took_so_long(world):
    """An upstream that became slow for good is seen to be so: the limit grows until it answers.

    Fails when only successes are observed (hand mutation of `_telling`).
    """
    none = BudgetConfig(share=0.0, floor=0.0)
    world.configure(retry=RetryConfig(adaptive_timeout=True, attempts=2, budget=none))
    for _ in range(100):
        world.destination.latencies.observe(0.1, world.clock())

    def takes_a_second(attempt):
        left = attempt.deadline - world.clock()
        world.clock.advance(min(left, 1.0))
        return Interrupted("silent", timed_out=True) if left < 1.0 else 200

    with pytest.raises(Interrupted):
        world.call(Script(takes_a_second), timeout=5.0)
    for _ in range(20):
        with suppress(Interrupted):
            world.call(Script(takes_a_second), timeout=5.0)
    assert world.call(Script(takes_a_second), timeout=5.0).status == 200
