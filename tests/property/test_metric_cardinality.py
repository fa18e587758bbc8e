"""Known hard bug "Metric cardinality": labels that whoever calls can make up fill the memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import NoRoute
from meshlib.model import Call
from meshlib.observe.metrics.listener import Metrics
from meshlib.observe.metrics.registry import Registry
from meshlib.observe.metrics.series import IDLE, OTHER, SECONDS
from meshlib.testing.clock import FakeClock

CAP = 20
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)


class Naive:
    """What a first version would be: a child for whatever it is told."""

    def __init__(self) -> None:
        self.children = Count()

    def add(self, values, amount=1):
        self.children[values] += amount

    def sizes(self):
        return len(self.children), sum(self.children.values())


class Capped:
    """Ours, asked the same."""

    def __init__(self) -> None:
        self.registry = Registry(FakeClock(), CAP)
        labels = ("service", "outcome")
        self.counter = self.registry.counter("calls_total", "Calls.", labels, free=("service",))
        self.add = self.counter.add

    def sizes(self):
        return len(list(self.counter.samples())), self.counter.total()


def attacked(metric):
    """A caller makes up a host for each of ten thousand calls."""
    for number in range(10_000):
        metric.add((f"host-{number}.example", "2xx" if number % 2 else "5xx"))
    return metric.sizes()


def test_metric_cardinality():
    """Known hard bug: ten thousand made-up names are a cap's worth of lines, and no call is lost.

    The naive twin, with a line for each, is below.
    """
    lines, calls = attacked(Capped())
    assert 10_000 == calls
    assert CAP + 2 == lines  # both outcomes have an `other` besides


def test_the_naive_metric_grows_for_ever():
    """The same attack on the naive twin: as many lines as names."""
    assert (10_000, 10_000) == attacked(Naive())


def test_what_was_folded_is_counted():
    """A metric says of which other one how many observations went to `other`."""
    capped = Capped()
    attacked(capped)
    (folded,) = capped.registry.families()[0].samples()
    assert ((("metric", "meshlib_calls_total"),), 10_000 - CAP) == (folded.labels, folded.value)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["2xx", "5xx"])), max_size=80))
def test_nothing_is_lost_by_folding(observations):
    """Whatever the names: the total and the bounded label stay exact, the lines stay bounded."""
    capped = Capped()
    for observation in observations:
        capped.add(observation)
    samples = list(capped.counter.samples())
    assert CAP + 2 >= len(samples)
    seen = Count()
    for sample in samples:
        seen[dict(sample.labels)["outcome"]] += sample.value
    assert Count(outcome for _, outcome in observations) == seen


def test_who_is_known_stays_known():
    """An attack does not take the lines of those who had one before, and go on."""
    capped = Capped()
    capped.add(("shop", "2xx"))
    attacked(capped)
    capped.add(("shop", "2xx"))
    lines = {sample.labels: sample.value for sample in capped.counter.samples()}
    assert 2 == lines[("service", "shop"), ("outcome", "2xx")]


def test_idle_lines_make_room():
    """After the idle time a full metric forgets who was silent, and knows newcomers by name."""
    clock = FakeClock()
    counter = Registry(clock, 2).counter("x_total", "X.", ("version",), free=("version",))
    for version in ("v1", "v2", "v3"):
        counter.add((version,))
    clock.advance(IDLE)
    counter.add(("v2",))
    counter.add(("v4",))
    named = {dict(sample.labels)["version"] for sample in counter.samples()}
    assert {"v2", "v4", OTHER} == named


def test_a_full_metric_is_not_swept_sooner():
    """Within the idle time nobody is forgotten."""
    clock = FakeClock()
    counter = Registry(clock, 2).counter("x_total", "X.", ("version",), free=("version",))
    for version in ("v1", "v2", "v3"):
        counter.add((version,))
    clock.advance(IDLE - 1)
    counter.add(("v4",))
    assert 4 == counter.total()
    named = {dict(sample.labels)["version"] for sample in counter.samples()}
    assert {"v1", "v2", OTHER} == named


def test_names_that_are_no_services_are_not_labels():
    """A call to a name the mesh does not know never becomes a label value."""
    metrics = Metrics()
    for number in range(10):
        metrics.call_finished(Call(f"made-up-{number}"), NoRoute("no such service"), 0.0)
    assert "made-up" not in metrics.text()
    assert 'outcome="no-route",le="+Inf"} 10' in metrics.text()


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_is_a_cumulative_count(values):
    """Each bucket counts the values up to its bound; the last one all; the sum is the sum."""
    histogram = Registry(FakeClock()).histogram("x_seconds", "X.", ())
    for value in values:
        histogram.observe((), value)
    samples = list(histogram.samples())
    ordered = sorted(values)
    if not values:
        assert [] == samples
        return
    expected = [bisect_left(ordered, bound + 1e-12) for bound in SECONDS]
    slack = [sum(abs(value - bound) < 1e-9 for value in values) for bound in SECONDS]
    counts = [sample.value for sample in samples[: len(SECONDS)]]
    assert all(
        abs(count - want) <= loose
        for count, want, loose in zip(counts, expected, slack, strict=True)
    )
    assert counts == sorted(counts)
    assert len(values) == samples[-3].value == samples[-1].value
    assert pytest.approx(sum(values)) == samples[-2].value


@pytest.mark.parametrize(("value", "bucket"), [(0.001, "0.001"), (0.0011, "0.0025"), (11, "+Inf")])
def test_a_bound_belongs_to_its_bucket(value, bucket):
    """`le` means at most."""
    histogram = Registry(FakeClock()).histogram("x_seconds", "X.", ())
    histogram.observe((), value)
    first = next(sample for sample in histogram.samples() if sample.value)
    assert bucket == dict(first.labels)["le"]
