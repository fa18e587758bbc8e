from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshlib.balance.upstream import Upstream
from meshlib.config import BALANCERS, HashConfig, HashKeyConfig, OutlierConfig, UpstreamConfig
from meshlib.model import Attempt, Bound, Call, Endpoint, Snapshot, Verdict
from meshlib.policy.breaker import State
from meshlib.testing.clock import FakeClock

HASHING = HashConfig(keys=(HashKeyConfig(header="k"),), min_ring=16, table=31)

BREAKER = OutlierConfig(
    failures=2,
    success_rate=0.0,
    cooldown=1.0,
    max_cooldown=4.0,
    jitter=0.0,
    lease=3.0,
    max_ejected=1.0,
    min_endpoints=1,
    panic=0.0,
)
ENDPOINTS = st.lists(
    st.builds(Endpoint, st.sampled_from("abcdef"), st.just("h"), st.just(1), st.integers(0, 2)),
    unique_by=lambda endpoint: endpoint.id,
    max_size=6,
)


class Model(RuleBasedStateMachine):
    """An upstream whose snapshots, settings, load and breakers change in any order."""

    @initialize(seed=st.integers(0, 99), endpoints=ENDPOINTS)
    def start(self, seed, endpoints):
        self.clock = FakeClock()
        self.upstream = Upstream("b", self.clock, Random(seed), UpstreamConfig(outlier=BREAKER))
        self.out = []
        self.update(endpoints)

    @rule(endpoints=ENDPOINTS)
    def update(self, endpoints):
        before = {state.key: state for state in self.upstream.states()}
        self.upstream.update(Bound(Snapshot("b", tuple(endpoints))))
        after = self.upstream.states()
        assert endpoints == [state.endpoint for state in after]
        assert all(before.get(state.key, state) is state for state in after)

    @rule(balancer=st.sampled_from(BALANCERS))
    def configure(self, balancer):
        self.upstream.configure(UpstreamConfig(balancer=balancer, hashing=HASHING, outlier=BREAKER))

    @rule()
    def subset(self):
        self.upstream.set_subsets({"early": lambda endpoint: endpoint.id < "d"})

    @rule(subset=st.sampled_from(["", "early"]))
    def pick(self, subset):
        picker = self.upstream.picker(subset)
        if picker is None:
            return
        mine = [s for s in self.upstream.states() if not subset or s.endpoint.id < "d"]
        mine = [s for s in mine if s.endpoint.weight] or mine
        closed = {s.key for s in mine if s.breaker.state is State.CLOSED}
        due = {s.key for s in mine if s.breaker.due <= self.clock.now}
        pick = picker.pick(Attempt(Call("b")))
        if pick is None:
            assert not mine
            return
        state = next(s for s in mine if s.endpoint == pick.endpoint)
        assert state.key in (due or closed or {s.key for s in mine})
        assert not due or state.breaker.state is State.HALF_OPEN
        self.out.append((pick, state))

    @rule(verdict=st.sampled_from(list(Verdict)), data=st.data())
    def done(self, verdict, data):
        if self.out:
            pick, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            pick.done(verdict)

    @rule(data=st.data())
    def trip(self, data):
        if self.upstream.states():
            breaker = data.draw(st.sampled_from(self.upstream.states())).breaker
            breaker.report(breaker.permit, Verdict.FAILURE)
            breaker.report(breaker.permit, Verdict.FAILURE)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def pending_is_what_is_out(self):
        for state in self.upstream.states():
            assert state.pending == sum(one is state for _, one in self.out)


TestUpstream = Model.TestCase
TestUpstream.settings = settings(stateful_step_count=40)
