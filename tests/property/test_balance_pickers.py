from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshlib.balance.build import BALANCERS as BUILD
from meshlib.balance.build import Parts
from meshlib.balance.least_request import LeastRequest
from meshlib.balance.load import EndpointState
from meshlib.balance.round_robin import RoundRobin
from meshlib.config import (
    BALANCERS,
    HashConfig,
    HashKeyConfig,
    OutlierConfig,
    SlowStartConfig,
    UpstreamConfig,
)
from meshlib.model import Attempt, Call, Endpoint, Verdict
from meshlib.policy.breaker import Breaker
from meshlib.testing.clock import FakeClock

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=12)
BY_NAME = st.sampled_from(BALANCERS)
NOW = 1000.0


def make(balancer, states, seed, *, factor=0, window=10.0):
    """A picker of that name."""
    hashing = HashConfig(
        keys=(HashKeyConfig(header="k"),), min_ring=64, table=251, balance_factor=factor
    )
    slow_start = SlowStartConfig(window=window)
    config = UpstreamConfig(balancer=balancer, hashing=hashing, slow_start=slow_start)
    return BUILD[balancer](Parts(states, config, FakeClock(NOW), Random(seed)))


def states_of(weights):
    """States of endpoints 0, 1, 2, ... of these weights."""
    clock = FakeClock()
    return [
        EndpointState(Endpoint(str(n), "h", n, weight), Breaker(clock, Random(0), OutlierConfig()))
        for n, weight in enumerate(weights)
    ]


@given(WEIGHTS, st.integers(0, 99), st.integers(1, 3))
def test_whole_rounds_are_exact(weights, seed, rounds):
    """Wherever the order starts, a whole round gives everybody exactly its weight."""
    picker, attempt = RoundRobin(states_of(weights), Random(seed)), Attempt(Call("b"))
    picks = Counter(picker.pick(attempt).endpoint.port for _ in range(rounds * sum(weights)))
    assert {n: rounds * own for n, own in enumerate(weights)} == picks


@given(BY_NAME, WEIGHTS, st.sampled_from([0, 100, 150]), st.booleans(), st.data())
def test_untried_before_tried(balancer, weights, factor, new, data):
    """While one is left that was not tried, no tried one is picked, whatever load, age or key."""
    states = states_of(weights)
    tried = data.draw(st.lists(st.sampled_from(states), unique=True, max_size=len(states)))
    for state in states:
        state.picks.update(range(data.draw(st.integers(0, 5))))
        state.since = data.draw(st.sampled_from([0.0, NOW - 9])) if new else 0.0
    picker = make(balancer, states, data.draw(st.integers(0, 99)), factor=factor)
    call = Call("b", tried=tuple(s.endpoint for s in tried), headers={"k": "ann"})
    endpoint = picker.pick(Attempt(call)).endpoint
    assert len(tried) == len(states) or endpoint not in {s.endpoint for s in tried}


@given(st.integers(2, 9), st.integers(0, 9), st.integers(0, 99), st.data())
def test_the_busiest_never_wins(count, load, seed, data):
    """Two distinct endpoints are compared, so that the one that is busiest of all always loses."""
    states = states_of([1] * count)
    for state in states:
        state.picks.update(range(data.draw(st.integers(0, load))))
    busiest = data.draw(st.sampled_from(states))
    busiest.picks.update(range(load + 1))
    pick = LeastRequest(states, Random(seed)).pick(Attempt(Call("b")))
    assert busiest.endpoint != pick.endpoint


@given(st.lists(st.integers(1, 9), min_size=2, max_size=2), st.integers(0, 99), st.data())
def test_a_rival_wins_only_if_it_is_no_busier(weights, seed, data):
    """Nobody is picked who would, with the request, be busier for its weight than all are now."""
    states = states_of(weights)
    for state in states:
        state.picks.update(range(data.draw(st.integers(0, 9))))
    before = {s.endpoint: (s.pending, s.weight) for s in states}
    endpoint = LeastRequest(states, Random(seed)).pick(Attempt(Call("b"))).endpoint
    pending, weight = before.pop(endpoint)
    assert not any((p + 1) / w <= pending / weight for p, w in before.values())


@given(BY_NAME, WEIGHTS, st.integers(0, 99), st.data())
def test_what_is_picked_is_pending(balancer, weights, seed, data):
    """At any moment the pending requests are the picks that are not done."""
    states, attempt = states_of(weights), Attempt(Call("b"))
    picker, out = make(balancer, states, seed, factor=data.draw(st.sampled_from([0, 125]))), []
    for step in data.draw(st.lists(st.sampled_from(["pick", *Verdict]), max_size=40)):
        if step == "pick":
            out.append(picker.pick(attempt))
        elif out:
            pick = out.pop(data.draw(st.integers(0, len(out) - 1)))
            pick.done(step)
            pick.done(step)
        assert Counter(p.endpoint.port for p in out) == +Counter(
            {s.endpoint.port: s.pending for s in states}
        )


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(0, 9))
def test_turns_come_evenly(weights, seed):
    """Between two turns of an endpoint lie at most twice as many slots as its share asks for."""
    assume(len(set(weights)) > 1)
    picker, attempt, total = (
        RoundRobin(states_of(weights), Random(seed)),
        Attempt(Call("b")),
        sum(weights),
    )
    order = [picker.pick(attempt).endpoint.port for _ in range(2 * total)]
    for index, weight in enumerate(weights):
        turns = [at for at, who in enumerate(order) if who == index]
        assert max(b - a for a, b in pairwise(turns)) <= 2 * total / weight + 1


@settings(max_examples=30)
@given(
    st.sampled_from(["least_request", "peak_ewma", "random"]),
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.integers(0, 99),
)
def test_idle_endpoints_share_by_weight(balancer, weights, seed):
    """When all are idle and alike, each gets the share of its weight, and nobody starves."""
    picker, attempt = make(balancer, states_of(weights), seed), Attempt(Call("b"))
    seen = Counter()
    for _ in range(3000):
        pick = picker.pick(attempt)
        seen[pick.endpoint.port] += 1
        pick.done(Verdict.SUCCESS, 0.03)
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(seen[index] / 3000 - share) < 5 * (share * (1 - share) / 3000) ** 0.5


@settings(max_examples=25)
@given(st.sampled_from(["ring_hash", "maglev"]), st.integers(2, 12), st.data())
def test_keys_of_who_stays_stay(balancer, count, data):
    """When one of n goes, at most twice its share of the other keys moves."""
    states = states_of([1] * count)
    gone = data.draw(st.sampled_from(states))
    left = [state for state in states if state is not gone]
    attempts = [Attempt(Call("b", headers={"k": str(n)})) for n in range(400)]
    owners = []
    for some in (states, left):
        picker = make(balancer, some, 0)
        owners.append([picker.pick(attempt).endpoint for attempt in attempts])
    kept = [(a, b) for a, b in zip(*owners, strict=True) if a != gone.endpoint]
    assert sum(a != b for a, b in kept) <= 2 * 400 / count
