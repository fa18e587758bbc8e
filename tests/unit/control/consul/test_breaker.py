"""An agent that is not there is left alone between probes."""

from __future__ import annotations

from random import Random

import pytest

from meshlib.control.consul.breaker import FAILURES, LEASE, PAUSE, AgentBreaker
from meshlib.control.consul.faults import AgentUnreachable
from meshlib.testing.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def moves():
    return []


@pytest.fixture
def breaker(clock, moves):
    def moved(before, after):
        moves.append((before, after))

    return AgentBreaker("consul://a:1", clock=clock, rng=Random(1), moved=moved)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.admit()
        breaker.failed(AgentUnreachable("gone", why="refused"))


def test_it_opens_after_failures_in_a_row(breaker, moves):
    """Five failures open it, four and a success do not; who asks then hears the last reason."""
    fail(breaker, FAILURES - 1)
    breaker.answered()
    fail(breaker, FAILURES - 1)
    assert [] == moves
    fail(breaker)
    assert [("closed", "open")] == moves
    with pytest.raises(AgentUnreachable, match="refused"):
        breaker.admit()


def test_one_probe_at_a_time(breaker, clock, moves):
    """After the pause one may ask, and the next only when that one's time is up."""
    fail(breaker, FAILURES)
    clock.advance(PAUSE)
    breaker.admit()
    with pytest.raises(AgentUnreachable):
        breaker.admit()
    assert ("open", "half-open") == moves[-1]
    clock.advance(LEASE)
    breaker.admit()


def test_a_probe_decides(breaker, clock, moves):
    """A probe that fails opens it again, one that is answered closes it."""
    fail(breaker, FAILURES)
    clock.advance(PAUSE)
    fail(breaker)
    assert "open" == breaker.state
    with pytest.raises(AgentUnreachable):
        breaker.admit()
    clock.advance(PAUSE)
    breaker.admit()
    breaker.answered()
    assert ("half-open", "closed") == moves[-1]
    breaker.admit()


def test_a_probe_that_says_nothing_is_passed_on(breaker, clock):
    """Stuck half-open: a probe that was cut short must not keep the others out."""
    fail(breaker, FAILURES)
    clock.advance(PAUSE)
    breaker.admit()
    breaker.undecided()
    breaker.admit()


def test_a_late_answer_closes_it(breaker):
    """Whoever was admitted before it opened, and is answered, has proved the agent alive."""
    fail(breaker, FAILURES)
    breaker.answered()
    assert "closed" == breaker.state


def test_it_never_waits_for_the_wall_clock(breaker, clock):
    """Only our clock counts: pybreaker's own, which may be set, does not keep it open."""
    fail(breaker, FAILURES)
    clock.advance(PAUSE)
    breaker.admit()
    assert "half-open" == breaker.state


def test_a_listener_that_raises_does_no_harm(clock, caplog):
    """Its error is logged, and the breaker is open all the same."""

    def moved(before, after):
        raise RuntimeError("listener")

    breaker = AgentBreaker("consul://a:1", clock=clock, rng=Random(1), moved=moved)
    fail(breaker, FAILURES)
    assert "open" == breaker.state
    assert "a listener of the breaker" in caplog.text
