from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from meshlib.balance.build import BALANCERS
from meshlib.balance.peak_ewma import PeakEwma
from meshlib.balance.round_robin import RoundRobin
from meshlib.balance.upstream import Upstream
from meshlib.config import BALANCERS as NAMES
from meshlib.config import HashConfig, HashKeyConfig, OutlierConfig, UpstreamConfig, parse
from meshlib.errors import ConfigError
from meshlib.model import Bound, Failed, Neg, Pending, Snapshot, Verdict
from meshlib.policy.breaker import State

HASHING = HashConfig(keys=(HashKeyConfig(header="k"),), table=251)

BREAKER = OutlierConfig(
    failures=2,
    success_rate=0.0,
    cooldown=1.0,
    max_cooldown=8.0,
    jitter=0.0,
    max_ejected=1.0,
    min_endpoints=1,
)
"""All but the last may be out: `test_panic.py` and `test_build.py` are about who may."""


def bound(endpoints, index=0):
    """Make discovery's answer."""
    return Bound(Snapshot("b", tuple(endpoints), index))


@pytest.fixture
def upstream(clock):
    """An upstream whose breakers open after two failures."""
    return Upstream("b", clock, Random(1), UpstreamConfig(outlier=BREAKER))


@pytest.fixture
def trip(upstream, attempt):
    """Open the breakers of the endpoints with these names."""

    def trip(*names):
        for state in upstream.states():
            while state.endpoint.id in names and state.breaker.state is State.CLOSED:
                state.breaker.report(state.breaker.permit, Verdict.FAILURE)

    return trip


def state(upstream, name):
    """The state of the endpoint of that name."""
    return next(state for state in upstream.states() if state.endpoint.id == name)


def seen(upstream, attempt, times=200, subset="", verdict=Verdict.SUCCESS):
    """Count who is picked when each request ends before the next begins."""
    names = Counter()
    for _ in range(times):
        pick = upstream.picker(subset).pick(attempt)
        names[pick.endpoint.id] += 1
        pick.done(verdict)
    return names


class TestResolution:
    def test_before_the_first(self, upstream, attempt):
        """Before discovery has answered there is a picker, and nothing to pick."""
        upstream.update(Pending())
        assert (Pending(), False) == (upstream.resolution, upstream.ready)
        assert upstream.picker().pick(attempt()) is None
        assert "<Upstream 'b' pending: 0 endpoints, 0 broken, 0 pending, peak_ewma>" == repr(
            upstream
        )

    def test_bound(self, upstream, attempt, endpoints):
        """A snapshot's endpoints are picked."""
        upstream.update(bound(endpoints(1, 1)))
        assert upstream.ready
        assert {"a", "b"} == set(seen(upstream, attempt()))
        upstream.picker().pick(attempt())
        assert "<Upstream 'b' bound: 2 endpoints, 0 broken, 1 pending, peak_ewma>" == repr(upstream)

    def test_subscribers_find_the_new_picker(self, upstream, attempt, endpoints):
        """Who waits for the first answer is told when the picker is there, and may stop."""
        heard = []
        stop = upstream.subscribe(lambda: heard.append(set(seen(upstream, attempt()))))
        upstream.update(Pending())
        assert [] == heard
        upstream.update(bound(endpoints(1)))
        assert [{"a"}] == heard
        stop()
        upstream.update(bound(endpoints(1, 1)))
        assert [{"a"}] == heard

    @pytest.mark.parametrize("nothing", [Failed("down"), Pending()])
    def test_last_good_snapshot_serves(self, upstream, attempt, endpoints, nothing):
        """When discovery fails, the last good snapshot serves on, and is still what was said."""
        good = bound(endpoints(1))
        upstream.update(good)
        upstream.update(nothing)
        assert good == upstream.resolution
        assert {"a"} == set(seen(upstream, attempt()))

    def test_nothing_good(self, upstream, attempt):
        """A failure before the first answer is the answer."""
        upstream.update(Failed("down"))
        assert (Failed("down"), True) == (upstream.resolution, upstream.ready)
        assert upstream.picker().pick(attempt()) is None

    @pytest.mark.parametrize("nobody", [Neg(("x",)), bound(())])
    def test_nobody_left(self, upstream, attempt, endpoints, nobody):
        """An answer without endpoints takes them all away."""
        upstream.update(bound(endpoints(1)))
        upstream.update(nobody)
        assert (nobody, ()) == (upstream.resolution, upstream.states())
        assert upstream.picker().pick(attempt()) is None

    def test_an_equal_snapshot_changes_nothing(self, upstream, endpoints):
        """A write that changed nothing does not even build a picker."""
        upstream.update(bound(endpoints(1), 1))
        before = upstream.picker()
        upstream.update(bound(endpoints(1), 2))
        assert before is upstream.picker()


class TestLearnedState:
    def test_survives_a_snapshot(self, upstream, attempt, endpoints, trip):
        """Endpoints that stay keep their load and their breaker; others come and go."""
        upstream.update(bound(endpoints(1, 1, 1)))
        trip("a")
        picks = [upstream.picker().pick(attempt()) for _ in range(4)]
        before = {s.endpoint.id: (s, s.pending, s.breaker.state) for s in upstream.states()}
        upstream.update(bound([*endpoints(1, 1), endpoints(1, 1, 1, 1)[3]]))
        after = {s.endpoint.id: (s, s.pending, s.breaker.state) for s in upstream.states()}
        assert ["a", "b", "d"] == list(after)
        assert (before["a"], before["b"]) == (after["a"], after["b"])
        assert (0, State.CLOSED) == after["d"][1:]
        for pick in picks:
            pick.done(Verdict.SUCCESS)
        assert [0, 0, 0] == [s.pending for s in upstream.states()]
        assert {"b", "d"} == set(seen(upstream, attempt()))

    def test_survives_other_weight_and_meta(self, upstream, attempt, endpoints, trip):
        """An endpoint whose weight or meta has changed is the same endpoint."""
        first, second = endpoints(1, 1)
        upstream.update(bound([first, second]))
        trip("a")
        before = state(upstream, "a")
        upstream.update(bound([replace(first, meta={"version": "2"}), replace(second, weight=3)]))
        assert before is state(upstream, "a")
        assert ("2", State.OPEN) == (before.endpoint.version, before.breaker.state)
        assert 3 == upstream.picker().pick(attempt()).endpoint.weight

    def test_another_address_is_another_endpoint(self, upstream, endpoints, trip):
        """An instance that comes back at another port is a new one."""
        [first] = endpoints(1)
        upstream.update(bound([first]))
        trip("a")
        upstream.update(bound([replace(first, port=1)]))
        assert State.CLOSED is state(upstream, "a").breaker.state

    def test_removed_ones_drain(self, upstream, attempt, endpoints):
        """A request at a removed endpoint ends in its own time and hurts nobody."""
        upstream.update(bound(endpoints(1)))
        picks = [upstream.picker().pick(attempt()) for _ in range(5)]
        gone = state(upstream, "a")
        upstream.update(bound(endpoints(1, 1)[1:]))
        assert {"b"} == set(seen(upstream, attempt()))
        for pick in picks:
            pick.done(Verdict.FAILURE)
        assert (0, State.OPEN) == (gone.pending, gone.breaker.state)
        assert {"b"} == set(seen(upstream, attempt()))

    def test_configure_keeps_it(self, upstream, attempt, endpoints, trip):
        """Other settings hold at once, for endpoints already known too, and lose nothing."""
        upstream.update(bound(endpoints(1, 1, 1)))
        trip("a")
        known = state(upstream, "b")
        known.breaker.report(known.breaker.permit, Verdict.FAILURE)
        pick = upstream.picker().pick(attempt())
        before = upstream.states()
        upstream.configure(
            UpstreamConfig(
                balancer="round_robin", outlier=OutlierConfig(failures=3, success_rate=0.0)
            )
        )
        assert before == upstream.states()
        known.breaker.report(known.breaker.permit, Verdict.FAILURE)
        assert State.CLOSED is known.breaker.state
        assert {"b": 100, "c": 100} == seen(upstream, attempt())
        assert "round_robin" in repr(upstream)
        assert 1 == sum(s.pending for s in upstream.states())
        pick.done(Verdict.SUCCESS)
        upstream.update(bound(endpoints(1, 1, 1, 1)))
        new = state(upstream, "d").breaker
        for _ in range(2):
            new.report(new.permit, Verdict.FAILURE)
        assert State.CLOSED is new.state


class TestSubsets:
    def test_members(self, upstream, attempt, endpoints):
        """A subset's picker picks from the endpoints it chooses, also of later snapshots."""
        upstream.update(bound(endpoints(1, 1, 1)))
        upstream.set_subsets({"late": lambda e: e.id > "a"})
        assert {"b", "c"} == set(seen(upstream, attempt(), subset="late"))
        assert {"a", "b", "c"} == set(seen(upstream, attempt()))
        upstream.update(bound(endpoints(1, 1)))
        assert {"b"} == set(seen(upstream, attempt(), subset="late"))

    def test_unknown_and_empty(self, upstream, attempt, endpoints):
        """An unknown subset has no picker; one without members has nothing to pick."""
        upstream.update(bound(endpoints(1)))
        assert upstream.picker("v1") is None
        upstream.set_subsets({"v1": lambda _: False})
        assert upstream.picker("v1").pick(attempt()) is None
        upstream.set_subsets({})
        assert upstream.picker("v1") is None

    def test_share_the_state(self, upstream, attempt, endpoints, trip, clock):
        """A breaker is of the endpoint: subsets share it, its probe and the load."""
        upstream.set_subsets({"a": lambda e: e.id in "ab", "b": lambda e: e.id in "ac"})
        upstream.update(bound(endpoints(1, 1, 1)))
        trip("a")
        assert {"b"} == set(seen(upstream, attempt(), subset="a"))
        assert {"c"} == set(seen(upstream, attempt(), subset="b"))
        clock.advance(1.0)
        probe = upstream.picker("a").pick(attempt())
        assert "a" == probe.endpoint.id
        assert {"c"} == set(seen(upstream, attempt(), subset="b"))
        probe.done(Verdict.IGNORED)
        assert "a" == upstream.picker("b").pick(attempt()).endpoint.id


class TestWeightZero:
    def test_gets_nothing(self, upstream, attempt, endpoints):
        """Weight 0 means no traffic, ..."""
        upstream.update(bound(endpoints(0, 1, 0)))
        assert {"b"} == set(seen(upstream, attempt()))

    @pytest.mark.parametrize("balancer", NAMES)
    def test_unless_all_have_it(self, upstream, attempt, endpoints, balancer):
        """... unless all have it."""
        upstream.configure(UpstreamConfig(balancer=balancer, hashing=HASHING))
        upstream.update(bound(endpoints(0, 0)))
        assert {"a", "b"} == set(seen(upstream, attempt()))

    def test_is_no_refuge(self, upstream, attempt, endpoints, trip, clock):
        """Weight 0 gets nothing when the others are broken either, and no probes."""
        upstream.update(bound(endpoints(0, 1)))
        trip("a", "b")
        clock.advance(60.0)
        assert {"b"} == set(seen(upstream, attempt(), verdict=Verdict.FAILURE))


class TestBreakers:
    @pytest.mark.parametrize("balancer", NAMES)
    def test_open_ones_are_left_out(self, upstream, attempt, endpoints, balancer):
        """Requests that fail take their endpoint out of the draw, by whatever balancer."""
        upstream.configure(UpstreamConfig(balancer=balancer, hashing=HASHING, outlier=BREAKER))
        upstream.update(bound(endpoints(1, 1, 1)))
        failed = 0
        for _ in range(300):
            pick = upstream.picker().pick(attempt())
            bad = pick.endpoint.id == "a"
            failed += bad
            pick.done(Verdict.FAILURE if bad else Verdict.SUCCESS)
        assert 2 == failed
        assert "1 broken" in repr(upstream)

    def test_one_probe_after_the_cooldown(self, upstream, attempt, endpoints, trip, clock):
        """After the cooldown exactly one request goes there, until it has reported."""
        upstream.update(bound(endpoints(1, 1)))
        trip("a")
        clock.advance(0.999)
        assert {"b": 200} == seen(upstream, attempt())
        clock.advance(0.001)
        probe = upstream.picker().pick(attempt())
        assert "a" == probe.endpoint.id
        assert {"b": 200} == seen(upstream, attempt())
        probe.done(Verdict.SUCCESS)
        assert {"a", "b"} == set(seen(upstream, attempt()))
        assert isinstance(upstream.picker(), PeakEwma)

    def test_failed_probe(self, upstream, attempt, endpoints, trip, clock):
        """A failed probe keeps it out for twice as long; then the next goes."""
        upstream.update(bound(endpoints(1, 1)))
        trip("a")
        clock.advance(1.0)
        upstream.picker().pick(attempt()).done(Verdict.RETRYABLE)
        clock.advance(1.999)
        assert {"b": 200} == seen(upstream, attempt())
        clock.advance(0.001)
        assert "a" == upstream.picker().pick(attempt()).endpoint.id

    def test_cancelled_probe(self, upstream, attempt, endpoints, trip, clock):
        """After a cancelled probe the very next request is the probe."""
        upstream.update(bound(endpoints(1, 1)))
        trip("a")
        clock.advance(1.0)
        for _ in range(5):
            probe = upstream.picker().pick(attempt())
            assert "a" == probe.endpoint.id
            probe.done(Verdict.IGNORED)
        assert 0 == state(upstream, "a").pending

    def test_lost_probe(self, upstream, attempt, endpoints, trip, clock):
        """A probe that never reports is given up after its lease."""
        upstream.update(bound(endpoints(1, 1)))
        trip("a")
        clock.advance(1.0)
        upstream.picker().pick(attempt())
        clock.advance(29.999)
        assert {"b": 200} == seen(upstream, attempt())
        clock.advance(0.001)
        second = upstream.picker().pick(attempt())
        assert "a" == second.endpoint.id
        second.done(Verdict.SUCCESS)
        assert State.CLOSED is state(upstream, "a").breaker.state

    def test_probes_survive_a_rebuild(self, upstream, attempt, endpoints, trip, clock):
        """A probe that is out, and one that is due, outlive snapshots and settings."""
        upstream.update(bound(endpoints(1, 1, 1)))
        trip("a")
        clock.advance(1.0)
        probe = upstream.picker().pick(attempt())
        trip("b")
        upstream.update(bound(endpoints(1, 1, 1, 1)))
        upstream.configure(UpstreamConfig(balancer="round_robin", outlier=BREAKER))
        assert {"c", "d"} == set(seen(upstream, attempt()))
        probe.done(Verdict.FAILURE)
        clock.advance(1.0)
        assert "b" == upstream.picker().pick(attempt()).endpoint.id
        clock.advance(1.0)
        assert "a" == upstream.picker().pick(attempt()).endpoint.id

    def test_each_due_one_gets_its_probe(self, upstream, attempt, endpoints, trip, clock):
        """Several that are due get one probe each, one after the other."""
        upstream.update(bound(endpoints(*[1] * 9)))
        trip(*"abcd")
        clock.advance(1.0)
        picks = [upstream.picker().pick(attempt()).endpoint.id for _ in range(50)]
        assert sorted("abcd") == sorted(picks[:4])
        assert set(picks[4:]) <= set("efghi")

    def test_a_retry_is_no_probe(self, upstream, attempt, endpoints, trip, clock):
        """A call that has failed once is not sent to where it will most likely fail again."""
        upstream.update(bound(endpoints(1, 1, 1)))
        trip("a")
        clock.advance(1.0)
        tried = state(upstream, "b")
        assert "c" == upstream.picker().pick(attempt(tried)).endpoint.id
        assert "a" == upstream.picker().pick(attempt()).endpoint.id

    @pytest.mark.parametrize("names", ["a", "ab", "abcdef"])
    def test_fails_open(self, upstream, attempt, endpoints, trip, clock, names):
        """When every breaker is open, all are drawn from."""
        upstream.update(bound(endpoints(*[1] * len(names))))
        trip(*names)
        assert set(names) == set(seen(upstream, attempt(), verdict=Verdict.FAILURE))
        assert all(s.breaker.state is State.OPEN for s in upstream.states())

    def test_recovers_from_failing_open(self, upstream, attempt, endpoints, trip, clock):
        """The first probe that succeeds ends failing open; the others follow by their probes."""
        upstream.update(bound(endpoints(1, 1, 1)))
        trip(*"abc")
        clock.advance(1.0)
        probes = [upstream.picker().pick(attempt()) for _ in range(3)]
        assert {"a", "b", "c"} == {probe.endpoint.id for probe in probes}
        probes[1].done(Verdict.SUCCESS)
        assert {probes[1].endpoint.id} == set(seen(upstream, attempt()))
        probes[0].done(Verdict.SUCCESS)
        probes[2].done(Verdict.SUCCESS)
        assert {"a", "b", "c"} == set(seen(upstream, attempt()))

    def test_late_reports_do_not_reopen(self, upstream, attempt, endpoints, clock):
        """Requests that were pending when it opened say nothing after it has closed again."""
        upstream.update(bound(endpoints(1)))
        early = [upstream.picker().pick(attempt()) for _ in range(9)]
        early.pop().done(Verdict.FAILURE)
        early.pop().done(Verdict.FAILURE)
        clock.advance(1.0)
        upstream.picker().pick(attempt()).done(Verdict.SUCCESS)
        for pick in early:
            pick.done(Verdict.FAILURE)
        [only] = upstream.states()
        assert (State.CLOSED, 0) == (only.breaker.state, only.pending)


class TestThreads:
    def test_pending_never_leaks(self, upstream, attempt, endpoints, clock):
        """Threads that pick and report while snapshots change leave nothing pending."""
        sets = [endpoints(1, 1, 1), endpoints(1, 1, 1, 1, 1, 1), endpoints(2, 1)]
        upstream.update(bound(sets[0]))
        ever, errors, together = set(), [], threading.Barrier(5)

        def work(seed):
            rng = Random(seed)
            verdicts = list(Verdict)
            try:
                together.wait()
                for _ in range(1500):
                    pick = upstream.picker().pick(attempt())
                    pick.done(rng.choice(verdicts))
                    pick.done(rng.choice(verdicts))
            except Exception as exc:  # noqa: BLE001 - reported below, in the test's thread
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        together.wait()
        for turn in range(150):
            upstream.update(bound(sets[turn % 3]))
            ever.update(upstream.states())
            clock.advance(0.3)
        for thread in threads:
            thread.join()
        assert [] == errors
        assert {0} == {one.pending for one in ever}


class TestBalancerNames:
    def test_every_name_has_a_balancer(self):
        """What the configuration accepts can be built, and nothing else can."""
        assert set(NAMES) == set(BALANCERS)

    def test_unknown_name(self):
        """An unknown balancer is refused with the field, the value and the choices."""
        with pytest.raises(ConfigError, match=r"upstream\.balancer: 'fastest'") as caught:
            parse(UpstreamConfig, {"balancer": "fastest"}, path="upstream")
        assert "random, ring_hash, round_robin" in str(caught.value)

    def test_named_balancer_is_used(self, upstream, endpoints):
        """The balancer that is named is the one that picks."""
        upstream.update(bound(endpoints(1)))
        assert isinstance(upstream.picker(), PeakEwma)
        upstream.configure(UpstreamConfig(balancer="round_robin"))
        assert isinstance(upstream.picker(), RoundRobin)


def test_who_names_no_subset_gets_the_default_one(upstream, endpoints, attempt):
    """The empty name leads to the service's default subset; all endpoints are still known."""
    upstream.update(bound(endpoints(1, 1)))
    upstream.set_subsets({"first": lambda endpoint: endpoint.id == "a"}, default="first")
    assert {"a"} == {upstream.picker().pick(attempt()).endpoint.id for _ in range(20)}
    assert 2 == len(upstream.states())


def test_each_is_called_by_the_protocol_it_speaks(upstream, endpoints, attempt):
    """Who has said nothing may speak any; subsets are the same for all protocols."""
    silent, web, rpc = endpoints(1, 1, 1)
    web, rpc = replace(web, meta={"protocol": "http"}), replace(rpc, meta={"protocol": "grpc"})
    upstream.update(bound([silent, web, rpc]))
    upstream.set_subsets({"all": lambda _: True, "web": lambda each: each == web})

    def drawn(subset, protocol):
        picker = upstream.picker(subset, protocol)
        picks = [picker.pick(attempt()) for _ in range(20)]
        return {pick.endpoint.id for pick in picks}

    for subset in "", "all":
        assert {"a", "b"} == drawn(subset, "http")
        assert {"a", "c"} == drawn(subset, "grpc")
    assert {"b"} == drawn("web", "http")
    assert ["a", "c"] == [state.endpoint.id for state in upstream.members("", "grpc")]
    assert None is upstream.picker("web", "grpc").pick(attempt())


def test_nobody_speaks_it(upstream, endpoints, attempt):
    """Then it is tried all the same, as the endpoint may know better."""
    (rpc,) = endpoints(1)
    upstream.update(bound([replace(rpc, meta={"protocol": "grpc"})]))
    assert upstream.picker() is not None
    assert "a" == upstream.picker().pick(attempt()).endpoint.id


def test_what_all_speak_shares_its_pickers(upstream, endpoints):
    """Two protocols are no reason to build everything twice."""
    upstream.update(bound(endpoints(1, 1)))
    assert upstream.picker("", "http") is upstream.picker("", "grpc")
