from __future__ import annotations

from math import exp

import pytest

from meshlib.balance.latency import Latency
from meshlib.config import PeakEwmaConfig
from meshlib.model import Verdict


@pytest.fixture
def latency(clock):
    """An estimate nothing is known for."""
    return Latency(clock, PeakEwmaConfig())


def ok(latency, seconds):
    latency.report(Verdict.SUCCESS, seconds, None)


def test_the_seed_is_assumed(latency, clock):
    """An endpoint nothing is known of is taken to need 30 ms."""
    assert 0.03 == latency.read(clock())


def test_a_peak_is_believed_at_once(latency, clock):
    """One slow answer makes the estimate as high as it was, whatever was before."""
    ok(latency, 0.01)
    ok(latency, 2.0)
    assert 2.0 == latency.read(clock())


def test_faster_answers_lower_it_slowly(latency, clock):
    """A sample's weight is the time since the last one: a burst of fast answers counts little."""
    ok(latency, 1.0)
    for _ in range(100):
        ok(latency, 0.01)
    assert 1.0 == latency.read(clock())
    clock.advance(10.0)
    ok(latency, 0.01)
    assert pytest.approx(0.01 + 0.99 * exp(-1)) == latency.read(clock())


def test_steady_answers_are_the_estimate(latency, clock):
    """Answers that always take 20 ms make it 20 ms, however often it is read."""
    for _ in range(100):
        clock.advance(1.0)
        latency.read(clock())
        ok(latency, 0.02)
    assert pytest.approx(0.02, rel=0.01) == latency.read(clock())


def test_ewma_stuck_at_peak(latency, clock):
    """Known hard bug: after a spike an endpoint that gets no requests is forgiven.

    Mutation: reading without the decay, `return self.seconds`, leaves it at 5 s for ever.
    """
    ok(latency, 5.0)
    clock.advance(60.0)
    assert latency.read(clock()) < 0.02


@pytest.mark.parametrize(
    ("asked", "seconds"), [(0.0, 5.0), (2.0, 5.0), (60.0, 60.0), (9999.0, 300.0)]
)
def test_fast_fail_attraction(latency, clock, asked, seconds):
    """Known hard bug: a fast failure counts as five seconds, or as its Retry-After up to 300 s.

    Without the bias (mutation: drop the `max` with `_bias`) it would count as a millisecond.
    """
    latency.report(Verdict.RETRYABLE, 0.001, asked)
    assert seconds == latency.read(clock())


def test_a_slow_failure_counts_as_slow_as_it_was(latency, clock):
    """The penalty is a least, not a most."""
    latency.report(Verdict.FAILURE, 8.0, 0.0)
    assert 8.0 == latency.read(clock())


def test_given_up_raises_but_never_lowers(latency, clock):
    """A request given up after 10 ms says nothing, one given up after 10 s says it is slow."""
    ok(latency, 1.0)
    clock.advance(20.0)
    latency.report(Verdict.IGNORED, 0.01, None)
    assert pytest.approx(exp(-2)) == latency.read(clock())
    latency.report(Verdict.IGNORED, 10.0, None)
    assert 10.0 == latency.read(clock())
