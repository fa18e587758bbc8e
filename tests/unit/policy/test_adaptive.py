from __future__ import annotations

from math import inf

import pytest

from meshlib.policy.adaptive import ENOUGH, HALF_LIFE, LEAST, LONGEST, Latencies, per_try


def seen(*seconds, now=0.0):
    latencies = Latencies()
    for each in seconds:
        latencies.observe(each, now)
    return latencies


def test_too_few_say_nothing() -> None:
    """A tail is not guessed from a handful."""
    assert seen(*[0.1] * (ENOUGH - 1)).quantile(0.99, 0.0) is None
    assert seen(*[0.1] * ENOUGH).quantile(0.99, 0.0) is not None


def test_a_slow_hundredth_is_the_tail() -> None:
    """With 2 % slow answers the 99th percentile is theirs, the median is not."""
    latencies = seen(*[0.01] * 980, *[1.0] * 20)
    assert 1.0 == pytest.approx(latencies.quantile(0.99, 0.0), rel=0.11)
    assert 0.01 == pytest.approx(latencies.quantile(0.5, 0.0), rel=0.11)


def test_the_past_fades() -> None:
    """After a spell of slowness the tail comes down again."""
    latencies = seen(*[2.0] * 100)
    later = 10 * HALF_LIFE
    for _ in range(100):
        latencies.observe(0.01, later)
    assert latencies.quantile(0.99, later) < 0.02


def test_long_silence_forgets() -> None:
    """What is an hour old is not known any more."""
    assert seen(*[0.1] * 1000).quantile(0.99, 3600.0) is None


def test_what_is_new_is_seen_soon() -> None:
    """An answer that is remembered is not kept while a sixteenth of the samples is new."""
    latencies = seen(*[0.01] * 160)
    assert latencies.quantile(0.99, 0.0) < 0.02
    for _ in range(12):
        latencies.observe(1.0, 0.0)
    assert latencies.quantile(0.99, 0.0) > 0.9


def test_what_is_beyond_the_scale() -> None:
    """Absurd latencies land in the last bucket, impossible ones in the first."""
    assert LONGEST <= seen(*[1e9] * 50).quantile(0.5, 0.0)
    assert seen(*[0.0] * 50).quantile(0.5, 0.0) <= 1e-4


def test_twice_the_tail() -> None:
    """An attempt that another may follow gets twice the tail, the last one all there is."""
    assert 0.4 == per_try(0.2, 10.0, 3)
    assert 10.0 == per_try(0.2, 10.0, 1)
    assert LEAST == per_try(0.001, 10.0, 3)
    assert 1.0 == per_try(5.0, 3.0, 3)
    assert 10.0 == per_try(None, 10.0, 3)
    assert inf == per_try(None, inf, 3)
    assert 0.4 == per_try(0.2, inf, 3)
