"""Detector alone: which failures are too many."""

from __future__ import annotations

import pytest

from meshlib.config import OutlierConfig
from meshlib.policy.outlier import Detector
from meshlib.testing.clock import FakeClock


@pytest.fixture
def clock():
    """Time that stands still."""
    return FakeClock()


@pytest.fixture
def detector(clock):
    """One with the defaults."""
    return Detector(OutlierConfig(), clock())


def failures_until_too_many(detector, clock, *, connected):
    """How many failures in a row it takes."""
    for count in range(1, 50):
        if detector.failed(clock(), connected=connected):
            return count
    return None


@pytest.mark.parametrize(("connected", "count"), [(False, 5), (True, 7)])
def test_failures_in_a_row(detector, clock, connected, count):
    """Five connections that did not come about are too many, or seven failures of any kind."""
    for _ in range(100):
        detector.succeeded(clock())
    assert count == failures_until_too_many(detector, clock, connected=connected)
    assert detector.unreachable is not connected


def test_a_row_ends_with_a_success_only(detector, clock):
    """Successes end both rows; a failure with a connection ends that of connections."""
    detector = Detector(OutlierConfig(success_rate=0.0), clock())
    for _ in range(20):
        assert not any(detector.failed(clock(), connected=False) for _ in range(4))
        detector.succeeded(clock())
    assert not any(detector.failed(clock(), connected=False) for _ in range(4))
    assert not detector.failed(clock(), connected=True)
    assert not detector.failed(clock(), connected=False)
    assert detector.failed(clock(), connected=False)
    assert not detector.unreachable


def test_outlier_interval_resets_consecutive_counter(detector, clock):
    """Known hard bug (envoy#40697): failures that come slowly are a row all the same.

    Fails when `failed` clears the rows as its window turns (hand mutation).
    """
    detector = Detector(OutlierConfig(success_rate=0.0), clock())
    for _ in range(6):
        assert not detector.failed(clock(), connected=True)
        clock.advance(60.0)
    assert detector.failed(clock(), connected=True)


@pytest.mark.parametrize(
    ("succeeded", "failed", "too_many"),
    [(4, 1, False), (3, 2, True), (0, 4, False), (0, 5, True), (8, 2, False), (7, 2, True)],
)
def test_success_rate(detector, clock, succeeded, failed, too_many):
    """Fewer than 80 % of at least five requests are too few."""
    for _ in range(succeeded):
        detector.succeeded(clock())
    verdicts = [detector.failed(clock(), connected=True) for _ in range(failed)]
    assert too_many is verdicts[-1]
    assert not any(verdicts[:-1])


def test_success_rate_looks_back_ten_seconds(detector, clock):
    """What is older than the window neither helps nor hurts."""
    for _ in range(1000):
        detector.succeeded(clock())
    clock.advance(11.0)
    for _ in range(3):
        detector.succeeded(clock())
    assert not detector.failed(clock(), connected=True)
    assert detector.failed(clock(), connected=True)


def test_a_forgiven_failure_is_not_counted(detector, clock):
    """Neither in the row nor in the rate."""
    for _ in range(1000):
        assert not detector.failed(clock(), connected=True)
        detector.forgive(clock())
    assert not detector.failed(clock(), connected=True)


def test_configure_keeps_what_was_counted(detector, clock):
    """Tighter bounds hold for what was counted before."""
    for _ in range(100):
        detector.succeeded(clock())
    assert not any(detector.failed(clock(), connected=True) for _ in range(2))
    detector.configure(OutlierConfig(failures=3), clock())
    assert detector.failed(clock(), connected=True)


def test_clear_forgets(detector, clock):
    """After `clear` everything begins anew."""
    assert not any(detector.failed(clock(), connected=False) for _ in range(4))
    detector.clear()
    assert not any(detector.failed(clock(), connected=False) for _ in range(4))
    assert not detector.unreachable


def test_another_window_keeps_the_rows(detector, clock):
    """Failures in a row stay in a row when the window becomes a longer one."""
    for _ in range(4):
        assert not detector.failed(clock(), connected=False)
    detector.configure(OutlierConfig(window=60.0), clock())
    assert detector.failed(clock(), connected=False)
    assert detector.unreachable


def test_successes_of_a_window_are_counted_once(detector, clock):
    """Those of the current slot are counted with those before, however often one looks."""
    for _ in range(3):
        detector.succeeded(clock())
        clock.advance(1.0)
        detector.succeeded(clock())
    assert {6} == {detector.counts(clock()).calls for _ in range(3)}
    clock.advance(11.0)
    assert 0 == detector.counts(clock()).calls
