from __future__ import annotations

from math import inf

import pytest

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
