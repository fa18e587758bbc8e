"""Near endpoints first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from meshlib.balance.locality import groups_of, waterfall
from meshlib.balance.upstream import Upstream
from meshlib.config import BALANCERS, LocalityConfig, OutlierConfig, UpstreamConfig
from meshlib.config.balance import HASHING
from meshlib.model import Bound, Locality, Snapshot, Verdict

HERE = Locality("eu", "a")
NEAR = Locality("eu", "b")
FAR = Locality("us", "a")
FAILOVER = LocalityConfig(mode="failover")
ZONE_AWARE = LocalityConfig()


@pytest.fixture
def placed(states):
    """Make states: so many here, so many in the other zone of the region, so many elsewhere."""

    def make(here=0, near=0, far=0):
        made = states(*[1] * (here + near + far))
        places = [HERE] * here + [NEAR] * near + [FAR] * far
        for state, place in zip(made, places, strict=True):
            state.endpoint = replace(state.endpoint, locality=place)
        return made

    return make


def shares(known, gone, config, here=HERE):
    """Percent of the traffic by place, when the states of these indices are not well."""
    drawn = [state for index, state in enumerate(known) if index not in gone]
    found = Counter()
    for group in groups_of(drawn, known, here, config):
        places = {state.endpoint.locality for state in group.states}
        found["/".join(sorted(f"{p.region}-{p.zone}" for p in places))] = round(100 * group.share)
    return {place: share for place, share in found.items() if share}


@pytest.mark.parametrize(
    ("well", "taken"),
    [
        ((100, 100, 100), (100, 0, 0)),
        ((72, 72, 100), (100, 0, 0)),
        ((71, 71, 100), (99, 1, 0)),
        ((50, 50, 100), (70, 30, 0)),
        ((25, 100, 100), (35, 65, 0)),
        ((25, 25, 100), (35, 35, 30)),
        ((25, 25, 20), (36, 36, 29)),
        ((0, 0, 1), (0, 0, 100)),
    ],
)
def test_envoys_table(well, taken):
    """The example table of Envoy's document on priority levels, to the percent."""
    found = waterfall([1.4 * share / 100 for share in well])
    assert list(taken) == [round(100 * share) for share in found]
    assert pytest.approx(1.0) == sum(found)


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ((), {"eu-a": 100}),
        ((0,), {"eu-a": 100}),
        ((0, 1), {"eu-a": 70, "eu-b": 30}),
        ((0, 1, 2), {"eu-a": 35, "eu-b": 65}),
        ((0, 1, 2, 3), {"eu-b": 100}),
        ((0, 1, 2, 3, 4, 5, 6), {"eu-b": 35, "us-a": 65}),
        ((0, 1, 2, 3, 4, 5, 6, 7), {"us-a": 100}),
    ],
)
def test_failover_goes_zone_region_world(placed, gone, expected):
    """Each level overflows into the next as its health goes down."""
    assert expected == shares(placed(4, 4, 4), gone, FAILOVER)


@pytest.mark.parametrize(
    ("places", "gone", "expected"),
    [
        ((3, 3, 3), (), {"eu-a": 100}),
        ((3, 3, 3), (0,), {"eu-a": 93, "eu-b": 7}),
        ((1, 5, 0), (), {"eu-a": 47, "eu-b": 53}),
        ((1, 9, 0), (), {"eu-a": 28, "eu-b": 72}),
        ((0, 3, 3), (), {"eu-b": 100}),
        ((0, 0, 6), (), {"us-a": 100}),
        ((3, 3, 0), (0, 1, 2), {"eu-b": 100}),
    ],
)
def test_zone_aware_goes_by_capacity(placed, places, gone, expected):
    """A zone takes what its share of all endpoints can carry, the rest flows on."""
    assert expected == shares(placed(*places), gone, ZONE_AWARE)


@pytest.mark.parametrize(
    ("count", "config", "here"),
    [
        (5, ZONE_AWARE, HERE),
        (9, ZONE_AWARE, Locality()),
        (9, FAILOVER, Locality()),
        (9, LocalityConfig(mode="off"), HERE),
    ],
)
def test_no_preference(placed, count, config, here):
    """Of few endpoints, for a caller that stands nowhere, or switched off: all are one group."""
    known = placed(count - 2, 1, 1)
    assert [(1.0, known)] == groups_of(known, known, here, config)


def test_failover_knows_no_least_number(placed):
    """Two endpoints are enough to prefer one."""
    assert {"eu-a": 100} == shares(placed(1, 1), (), FAILOVER)


def test_weights_count(placed):
    """Capacity is weight, not number."""
    known = placed(2, 5)
    known[0].endpoint = replace(known[0].endpoint, weight=4)
    assert {"eu-a": 100} == shares(known, (), ZONE_AWARE)
    assert {"eu-a": 28, "eu-b": 72} == shares(known, (0,), ZONE_AWARE)


# ------------------------------------------------------------------- with breakers, as it is used


@pytest.fixture
def upstream(clock, placed):
    """Make an upstream of so many endpoints a place, seen from zone a of region eu."""

    def make(*places, **config):
        made = Upstream("b", clock, Random(1), UpstreamConfig(**config), HERE)
        endpoints = tuple(state.endpoint for state in placed(*places))
        made.update(Bound(Snapshot("b", endpoints)))
        return made

    return make


def served(upstream, attempt, broken=frozenset(), times=400):
    """Count the places that are picked, while those in `broken` fail."""
    places = Counter()
    for _ in range(times):
        pick = upstream.picker().pick(attempt())
        bad = pick.endpoint.locality in broken
        places[pick.endpoint.locality] += 1
        pick.done(Verdict.RETRYABLE if bad else Verdict.SUCCESS, connected=not bad)
    return places


@pytest.mark.parametrize("balancer", sorted(set(BALANCERS) - HASHING))
def test_locality_failover_silently_inert(upstream, attempt, balancer):
    """Known hard bug (Istio): without a word about outliers, traffic leaves a zone that is dead.

    Istio's failover does nothing unless outlier detection is configured.  The naive twin is an
    upstream whose detector never finds anything.
    """
    naive = upstream(
        3, 3, 3,
        balancer=balancer,
        outlier=OutlierConfig(success_rate=0.0, failures=9999, connect_failures=9999),
    )  # fmt: skip
    assert {HERE: 400} == served(naive, attempt, {HERE})
    real = upstream(3, 3, 3, balancer=balancer)
    assert {HERE: 400} == served(real, attempt)
    served(real, attempt, {HERE})
    places = served(real, attempt, {HERE})
    assert 0 == places[HERE]
    assert places[NEAR] > 0


def test_a_retry_leaves_a_level_that_was_tried(upstream, attempt):
    """A call that has tried all of its own zone goes to the next level, though it has no share."""
    made = upstream(1, 1, 1, locality=FAILOVER)
    here, near, far = made.states()
    assert {HERE: 50} == served(made, attempt, times=50)
    for tried, expected in [((here,), near), ((here, near), far), ((here, near, far), here)]:
        assert {expected.endpoint} == {
            made.picker().pick(attempt(*tried)).endpoint for _ in range(20)
        }
