from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from meshlib.balance.least_request import LeastRequest
from meshlib.balance.load import EndpointState
from meshlib.balance.round_robin import RoundRobin, in_proportion, longest, smooth_order
from meshlib.config import BreakerConfig
from meshlib.model import Attempt, Call, Endpoint, Verdict
from meshlib.policy.breaker import Breaker
from meshlib.testing.clock import FakeClock

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=12)
BALANCERS = st.sampled_from([LeastRequest, RoundRobin])


def states_of(weights):
    """States of endpoints 0, 1, 2, ... of these weights."""
    clock = FakeClock()
    return [
        EndpointState(Endpoint(str(n), "h", n, weight), Breaker(clock, Random(0), BreakerConfig()))
        for n, weight in enumerate(weights)
    ]


def nginx(weights):
    """`ngx_http_upstream_get_round_robin_peer`, literally."""
    current, total = [0] * len(weights), sum(weights)
    for _ in range(total):
        best = None
        for index, weight in enumerate(weights):
            current[index] += weight
            if best is None or current[index] > current[best]:
                best = index
        current[best] -= total
        yield best


@given(WEIGHTS)
def test_the_order_is_nginx_s(weights):
    """For any weights, the order is that of nginx's own loop."""
    assert list(nginx(weights)) == smooth_order(weights)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_slots_keep_the_proportions(weights):
    """Every share is within half a slot of the weight's, nobody has none, and there is a bound."""
    slots = in_proportion(weights)
    most = longest(len(weights))
    assert 1 <= min(slots)
    assert sum(slots) <= most + len(weights)
    for own, weight in zip(slots, weights, strict=True):
        exact = weight * most / sum(weights)
        scaled = abs(own - exact) <= 0.5 or (own == 1 and exact < 1)
        assert scaled or own * sum(weights) == weight * sum(slots)


@given(WEIGHTS, st.integers(0, 99), st.integers(1, 3))
def test_whole_rounds_are_exact(weights, seed, rounds):
    """Wherever the order starts, a whole round gives everybody exactly its slots."""
    picker, attempt = RoundRobin(states_of(weights), Random(seed)), Attempt(Call("b"))
    slots = in_proportion(weights)
    picks = Counter(picker.pick(attempt).endpoint.port for _ in range(rounds * sum(slots)))
    assert {n: rounds * own for n, own in enumerate(slots)} == picks


@given(BALANCERS, WEIGHTS, st.data())
def test_untried_before_tried(balancer, weights, data):
    """While one is left that was not tried, no tried one is picked, whatever the load."""
    states = states_of(weights)
    tried = data.draw(st.lists(st.sampled_from(states), unique=True, max_size=len(states)))
    for state in states:
        state.pending = data.draw(st.integers(0, 5))
    picker = balancer(states, Random(data.draw(st.integers(0, 99))))
    endpoint = picker.pick(Attempt(Call("b", tried=tuple(s.endpoint for s in tried)))).endpoint
    assert len(tried) == len(states) or endpoint not in {s.endpoint for s in tried}


@given(st.integers(2, 9), st.integers(0, 9), st.integers(0, 99), st.data())
def test_the_busiest_never_wins(count, load, seed, data):
    """Two distinct endpoints are compared, so that the one that is busiest of all always loses."""
    states = states_of([1] * count)
    for state in states:
        state.pending = data.draw(st.integers(0, load))
    busiest = data.draw(st.sampled_from(states))
    busiest.pending = load + 1
    pick = LeastRequest(states, Random(seed)).pick(Attempt(Call("b")))
    assert busiest.endpoint != pick.endpoint


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), st.integers(0, 99), st.data())
def test_a_rival_wins_only_if_it_is_no_busier(weights, seed, data):
    """Nobody is picked who would, with the request, be busier for its weight than all are now."""
    states = states_of(weights)
    for state in states:
        state.pending = data.draw(st.integers(0, 9))
    before = {s.endpoint: (s.pending, s.weight) for s in states}
    endpoint = LeastRequest(states, Random(seed)).pick(Attempt(Call("b"))).endpoint
    pending, weight = before.pop(endpoint)
    assert not any((p + 1) / w <= pending / weight for p, w in before.values())


@given(BALANCERS, WEIGHTS, st.integers(0, 99), st.data())
def test_what_is_picked_is_pending(balancer, weights, seed, data):
    """At any moment the pending requests are the picks that are not done."""
    states, attempt = states_of(weights), Attempt(Call("b"))
    picker, out = balancer(states, Random(seed)), []
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


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_turns_come_evenly(weights):
    """Between two turns of an endpoint lie at most twice as many slots as its share asks for."""
    assume(len(set(weights)) > 1)
    order = smooth_order(weights)
    total = sum(weights)
    for index, weight in enumerate(weights):
        turns = [at for at, who in enumerate(order * 2) if who == index]
        assert max(b - a for a, b in pairwise(turns)) <= 2 * total / weight
