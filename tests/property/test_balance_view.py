from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balance.load import EndpointState
from meshlib.balance.locality import groups_of, waterfall
from meshlib.balance.panic import SMALL, view_of
from meshlib.config import LocalityConfig, OutlierConfig
from meshlib.model import Endpoint, Locality, Verdict
from meshlib.policy.breaker import Breaker, State
from meshlib.testing.clock import FakeClock

PLACES = [Locality("eu", "a"), Locality("eu", "b"), Locality("us", "a"), Locality()]
OUTLIERS = st.builds(
    OutlierConfig,
    max_ejected=st.floats(0, 1),
    min_endpoints=st.integers(1, 5),
    panic=st.floats(0, 1),
)
LOCALITIES = st.builds(
    LocalityConfig,
    mode=st.sampled_from(["failover", "off", "zone_aware"]),
    overprovisioning=st.floats(1, 3),
    min_endpoints=st.integers(1, 8),
)


def make(fates):
    """States that are well, fail or are gone, each in its place and with its weight."""
    states, clock = [], FakeClock()
    for number, (fate, place, weight) in enumerate(fates):
        breaker = Breaker(clock, Random(number), OutlierConfig())
        while fate != "well" and breaker.state is State.CLOSED:
            breaker.report(breaker.permit, Verdict.FAILURE, connected=fate == "fails")
        endpoint = Endpoint(str(number), "h", number, weight, PLACES[place])
        states.append(EndpointState(endpoint, breaker))
    return states


STATES = st.lists(
    st.tuples(st.sampled_from(["well", "fails", "gone"]), st.integers(0, 3), st.integers(1, 9)),
    min_size=1,
    max_size=12,
).map(make)


@given(STATES, OUTLIERS)
def test_a_view_leaves_somebody_and_takes_no_more_out_than_allowed(states, config):
    """Whoever fails: nobody is lost, the well are drawn, and the bound on ejections holds."""
    view = view_of(states, config)
    drawn, biased = list(view.drawn), list(view.biased)
    out = [state for state in states if state not in drawn and state not in biased]
    assert drawn
    assert len(states) == len(drawn) + len(biased) + len(out)
    assert len(out) <= config.max_ejected * len(states) + 1e-6
    assert len(out) < len(states)
    assert not out or len(states) >= config.min_endpoints
    assert all(state in drawn for state in states if state.breaker.state is State.CLOSED)
    assert list(view.waiting) == [s for s in states if s.breaker.state is not State.CLOSED]
    if view.doubted:
        assert len(states) > SMALL or len(view.waiting) == len(states)
        assert all(s in drawn for s in states if not s.breaker.unreachable)


@given(STATES, LOCALITIES, st.sampled_from(PLACES))
def test_groups_share_everything_out(states, config, here):
    """Every endpoint that is drawn is in one group, and the shares make one."""
    drawn = view_of(states, OutlierConfig()).drawn
    groups = groups_of(drawn, states, here, config)
    assert pytest.approx(1.0) == sum(group.share for group in groups)
    members = [state.key for group in groups for state in group.states]
    assert sorted(state.key for state in drawn) == sorted(members)
    assert all(group.states for group in groups)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=5).filter(lambda c: sum(c) > 0.01))
def test_a_level_takes_what_is_left_up_to_its_capacity(capacities):
    """Nobody is given anything while somebody before it has room."""
    taken = waterfall(capacities)
    assert pytest.approx(1.0) == sum(taken)
    for index, share in enumerate(taken[1:], 1):
        if share > 1e-9:
            before = sum(capacities[:index])
            assert before < 1 + 1e-9
