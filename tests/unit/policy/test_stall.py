"""How long the process stood still, by the beats of its heart."""

from __future__ import annotations

import pytest

from meshlib.policy.stall import INTERVAL, LATE, REMEMBERED, StallMeter, excuses


@pytest.fixture
def meter():
    """One whose heart has beaten on time from 10 to 20, stood still until 23 and goes on."""
    meter = StallMeter()
    for tick in range(101):
        meter.beat(10.0 + tick * INTERVAL)
    meter.beat(23.0)
    for tick in range(1, 11):
        meter.beat(23.0 + tick * INTERVAL)
    return meter


@pytest.mark.parametrize(
    ("since", "until", "stalled"),
    [
        (11.0, 19.0, 0.0),
        (11.0, 24.0, 2.9),
        (21.0, 24.0, 2.0),
        (21.0, 22.0, 1.0),
        (23.5, 24.0, 0.0),
    ],
)
def test_only_what_falls_into_the_span_counts(meter, since, until, stalled):
    """The seconds of the span in which no beat came although one was due."""
    assert pytest.approx(stalled, abs=1e-6) == meter.stalled(since, until)


def test_a_beat_that_is_overdue_counts(meter):
    """Who wakes up before the heart does sees the stall all the same."""
    assert 0.0 == meter.stalled(23.9, 24.0 + INTERVAL + 0.5 * LATE)
    assert pytest.approx(5.0 - INTERVAL, abs=1e-6) == meter.stalled(23.9, 29.0)
    assert pytest.approx(1.0, abs=1e-6) == meter.stalled(28.0, 29.0)


def test_small_delays_mean_nothing():
    """A beat that is hardly late is no stall."""
    meter = StallMeter()
    now = 10.0
    for _ in range(100):
        now = meter.beat(now) + 0.9 * LATE
    assert 0.0 == meter.stalled(10.0, now)


def test_without_a_heart_nothing_is_known():
    """Neither before the first beat nor after the last one."""
    meter = StallMeter()
    assert 0.0 == meter.stalled(0.0, 1000.0)
    meter.beat(10.0)
    meter.stop()
    assert 0.0 == meter.stalled(0.0, 1000.0)
    assert not meter.woke(1000.0)


def test_memory_is_bounded():
    """The latest stalls are remembered, and each once."""
    meter = StallMeter()
    for second in range(10 * REMEMBERED):
        meter.beat(float(second))
    now = float(10 * REMEMBERED - 1)
    assert pytest.approx(REMEMBERED * (1.0 - INTERVAL)) == meter.stalled(0.0, now)


def test_it_has_just_woken_up(meter):
    """During a stall, and for one interval after it, nobody has caught up yet."""
    assert meter.woke(30.0)
    assert not meter.woke(24.0)
    late = StallMeter()
    late.beat(10.0)
    late.beat(15.0)
    assert late.woke(15.0 + 0.5 * INTERVAL)
    assert not late.woke(15.0 + 1.1 * INTERVAL)


@pytest.mark.parametrize(
    ("since", "now", "share", "excused"),
    [
        (19.0, 24.0, 0.5, True),  # 2.9 of 5 s
        (10.0, 24.0, 0.5, False),  # 2.9 of 14 s, and it moved on for a second after that
        (10.0, 24.0, 0.2, True),
        (10.0, 26.0, 0.99, True),  # the time was up during a stall that still lasts
        (19.0, 24.0, 0.0, False),  # switched off
        (23.5, 24.0, 0.1, False),  # no stall at all
    ],
)
def test_excuses(meter, since, now, share, excused):
    """A timeout is excused by a stall that fills enough of it, or in which it ended."""
    assert excused is excuses(meter, since, now, share)
