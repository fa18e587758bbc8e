from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.policy.adaptive import GROWTH, LEAST, LONGEST, SAFETY, SHORTEST, Latencies, per_try

SECONDS = st.floats(SHORTEST, LONGEST)


@given(st.none() | SECONDS, st.floats(0, 1e6), st.integers(1, 10))
def test_never_more_than_an_even_share_nor_less_than_it_or_50_ms(tail, left, attempts) -> None:
    """Whatever was measured, the attempts that remain fit into the time that is left."""
    limit = per_try(tail, left, attempts)
    assert limit <= left
    if tail is not None and attempts > 1:
        share = left / attempts
        assert min(share, LEAST) <= limit <= share
        assert limit in {share, LEAST, SAFETY * tail}


@given(st.lists(SECONDS, min_size=20, max_size=300), st.floats(0.5, 0.99))
def test_a_quantile_is_right_to_a_bucket(samples, share) -> None:
    """At least `share` of the samples are not above the answer, and it is near a real sample."""
    latencies = Latencies()
    for sample in samples:
        latencies.observe(sample, 0.0)
    answer = latencies.quantile(share, 0.0)
    below = sum(sample <= answer * (1 + 1e-9) for sample in samples)
    assert below >= share * len(samples) - 1e-6
    assert any(answer / GROWTH * (1 - 1e-9) <= sample <= answer * (1 + 1e-9) for sample in samples)


@given(st.lists(st.tuples(SECONDS, st.floats(0, 100)), max_size=200))
def test_memory_is_bounded(steps) -> None:
    """However many samples over however long a time: as many numbers as at first."""
    latencies, now = Latencies(), 0.0
    size = len(latencies._counts)
    for sample, wait in steps:
        now += wait
        latencies.observe(sample, now)
        latencies.quantile(0.99, now)
    assert size == len(latencies._counts)
    assert all(count >= 0 for count in latencies._counts)
