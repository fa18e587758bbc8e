"""Retries that shall leave the localities they have tried."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from meshlib.balance.elsewhere import MOST
from meshlib.balance.upstream import Upstream
from meshlib.config import (
    BALANCERS,
    HashConfig,
    HashKeyConfig,
    LocalityConfig,
    OutlierConfig,
    SessionConfig,
    UpstreamConfig,
)
from meshlib.model import HTTP, Attempt, Bound, Call, Endpoint, Locality, Snapshot, Target, Verdict
from meshlib.observe.quiet import Quiet
from meshlib.policy.breaker import State
from meshlib.runtime import SyncRuntime
from meshlib.stack.balance import Balance
from meshlib.testing.clock import FakeClock

HERE = Locality("eu", "a")
PLACES = st.sampled_from([HERE, Locality("eu", "b"), Locality("us", "a"), Locality()])
MEMBERS = st.lists(st.tuples(PLACES, st.integers(0, 3), st.booleans()), min_size=1, max_size=8)
"""Place, weight, and whether it is well."""
MODES = st.sampled_from(["off", "failover", "zone_aware"])


def world(members, balancer, mode, **config):
    """An upstream whose endpoints are as well as they are said to be, and the layer above it."""
    clock = FakeClock()
    hashing = HashConfig(keys=(HashKeyConfig(header="k"),), min_ring=64, table=251)
    settings = UpstreamConfig(
        balancer=balancer,
        hashing=hashing,
        locality=LocalityConfig(mode=mode, min_endpoints=1),
        outlier=OutlierConfig(connect_failures=1, min_endpoints=1),
        **config,
    )
    upstream = Upstream("b", clock, Random(1), settings, HERE)
    endpoints = tuple(
        Endpoint(str(n), "h", n, weight, place) for n, (place, weight, _) in enumerate(members)
    )
    upstream.update(Bound(Snapshot("b", endpoints)))
    for state, (_, _, well) in zip(upstream.states(), members, strict=True):
        if not well:
            state.breaker.report(state.breaker.permit, Verdict.RETRYABLE, connected=False)
            assert State.OPEN is state.breaker.state
    return upstream, Balance(SyncRuntime(clock, Random(2)), lambda _: upstream, Quiet())


def retry(balance, tried):
    """The pick of an attempt that shall go elsewhere."""
    call = Call("b", target=Target("b"), tried=tried)
    return balance._pick(Attempt(call, 2, elsewhere=True))


@given(MEMBERS, st.sampled_from(BALANCERS), MODES, st.data())
def test_another_locality_if_anybody_there_is_well(members, balancer, mode, data):
    """Whoever is well and has traffic in a locality that was not tried goes before all others.

    The naive twin draws a few times and takes what comes, and where the near go first it always
    comes to the near.
    """
    upstream, balance = world(members, balancer, mode)
    known = [state.endpoint for state in upstream.states()]
    tried = tuple(data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)))
    left = {endpoint.locality for endpoint in tried}
    fit = {
        state.endpoint
        for state in upstream.states()
        if state.breaker.state is State.CLOSED
        and state.endpoint.weight
        and state.endpoint.locality not in left
    }
    for _ in range(5):
        pick = retry(balance, tried)
        assert not fit or pick.endpoint in fit
        pick.done(Verdict.SUCCESS, 0.01)


def test_nobody_elsewhere_means_anybody():
    """Then a retry is as any other: an endpoint that was not tried."""
    upstream, balance = world([(HERE, 1, True)] * 2, "peak_ewma", "zone_aware")
    first, second = (state.endpoint for state in upstream.states())
    assert second == retry(balance, (first,)).endpoint


def test_who_wants_no_traffic_gets_none():
    """Weight 0 is no reason to go there."""
    members = [(HERE, 1, True), (HERE, 1, True), (Locality("us", "a"), 0, True)]
    upstream, balance = world(members, "peak_ewma", "zone_aware")
    first, second, _ = (state.endpoint for state in upstream.states())
    assert second == retry(balance, (first,)).endpoint


def test_a_strict_session_goes_nowhere_else():
    """What the session holds is there, wherever that is."""
    session = SessionConfig(header="x-session", strict=True)
    upstream, _ = world(
        [(HERE, 1, True), (Locality("us"), 1, True)], "random", "off", session=session
    )
    assert upstream.elsewhere("", (upstream.states()[0].endpoint,)) is None


def test_recovery_and_loss_are_heard():
    """A picker is not kept longer than what it was made of."""
    far = Locality("us", "a")
    upstream, _ = world([(HERE, 1, True), (far, 1, True)], "random", "off")
    near, other = upstream.states()
    assert upstream.elsewhere("", (near.endpoint,)) is upstream.elsewhere("", (near.endpoint,))
    other.breaker.report(other.breaker.permit, Verdict.RETRYABLE, connected=False)
    assert upstream.elsewhere("", (near.endpoint,)) is None


def test_the_number_of_pickers_is_bounded():
    """However many localities there are to have tried."""
    members = [(Locality("r", str(n)), 1, True) for n in range(3 * MOST)]
    upstream, _ = world(members, "random", "off")
    for state in upstream.states():
        upstream.elsewhere("", (state.endpoint,))
    assert len(upstream._elsewhere[HTTP][""]._made) <= MOST
