from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshlib.balance.slow_start import ramp_of
from meshlib.balance.upstream import Upstream
from meshlib.config import SlowStartConfig, UpstreamConfig
from meshlib.model import Bound, Snapshot, Verdict

SHARING = ["least_request", "peak_ewma", "random", "round_robin"]


def newcomers(states, *since):
    """States that joined at these times."""
    members = states(*[1] * len(since))
    for state, then in zip(members, since, strict=True):
        state.since = then
    return members


@pytest.mark.parametrize(
    ("config", "age", "share"),
    [
        ({}, 0.0, 0.1),
        ({}, 1.0, 0.1),
        ({}, 5.0, 0.5),
        ({}, 10.0, 1.0),
        ({"aggression": 2.0}, 2.5, 0.5),
        ({"min_share": 0.0}, 0.0, 0.0001),
        ({"window": 2.0}, 1.0, 0.5),
    ],
)
def test_the_share_grows_as_in_envoy(states, clock, config, age, share):
    """max(min_share, (age / window) ** (1 / aggression))."""
    members = newcomers(states, float("-inf"), clock())
    ramp = ramp_of(members, clock, Random(1), SlowStartConfig(**config))
    assert pytest.approx(share) == ramp.share(age)


def test_nobody_pays_when_nobody_starts(states, clock):
    """Without a newcomer, after the window, when all are new, or when it is off: no ramp."""
    rng, on = Random(1), SlowStartConfig()
    members = newcomers(states, float("-inf"), clock())
    assert ramp_of(members, clock, rng, on) is not None
    assert ramp_of(members, clock, rng, SlowStartConfig(window=0.0)) is None
    assert ramp_of(members[1:], clock, rng, on) is None
    clock.advance(10.0)
    assert ramp_of(members, clock, rng, on) is None


@pytest.mark.parametrize("balancer", SHARING)
def test_a_newcomer_starts_slowly(endpoints, attempt, clock, balancer):
    """One of four that has just arrived gets a tenth of its share, and all of it in the end."""
    upstream = Upstream("b", clock, Random(1), UpstreamConfig(balancer=balancer))
    members = endpoints(1, 1, 1, 1)

    def share():
        seen = Counter()
        for _ in range(4000):
            pick = upstream.picker().pick(attempt())
            seen[pick.endpoint.id] += 1
            pick.done(Verdict.SUCCESS, 0.03)
        return seen["d"] / 1000

    upstream.update(Bound(Snapshot("b", members[:3])))
    upstream.update(Bound(Snapshot("b", members)))
    assert 0.05 < share() < 0.2
    clock.advance(5.0)
    assert 0.35 < share() < 0.75
    clock.advance(5.0)
    assert 0.8 < share() < 1.2


def test_the_first_are_not_new(upstream_of, attempt):
    """Those of the first snapshot were there before this process was."""
    upstream = upstream_of(1, 1)
    assert {float("-inf")} == {state.since for state in upstream.states()}


@pytest.fixture
def upstream_of(endpoints, clock):
    """An upstream with endpoints of these weights."""

    def make(*weights):
        upstream = Upstream("b", clock, Random(1))
        upstream.update(Bound(Snapshot("b", endpoints(*weights))))
        return upstream

    return make
