from __future__ import annotations

import threading
from collections import Counter
from math import inf
from random import Random

import pytest

from meshlib.config import OutlierConfig
from meshlib.model import Verdict
from meshlib.policy.breaker import UNCOUNTED, Breaker, State
from meshlib.testing.clock import FakeClock

CONFIG = OutlierConfig(
    failures=3, success_rate=0.0, cooldown=1.0, max_cooldown=6.0, jitter=0.0, lease=30.0
)


@pytest.fixture
def clock():
    """Time that stands still."""
    return FakeClock()


@pytest.fixture
def moves():
    """The moves heard of, in order."""
    return []


@pytest.fixture
def breaker(clock, moves):
    """A closed breaker that opens after three failures."""
    return Breaker(clock, Random(1), CONFIG, lambda *move: moves.append(move))


def fail(breaker, times=3, verdict=Verdict.FAILURE):
    """Report requests picked now."""
    for _ in range(times):
        breaker.report(breaker.permit, verdict)


@pytest.fixture
def opened(breaker):
    """A breaker that has just opened."""
    fail(breaker)
    return breaker


@pytest.fixture
def probing(opened, clock):
    """A breaker with a leased probe, and the probe's permit."""
    clock.advance(1.0)
    return opened, opened.try_probe()


@pytest.mark.parametrize("verdict", [Verdict.FAILURE, Verdict.RETRYABLE])
def test_opens_after_failures_in_a_row(breaker, clock, moves, verdict):
    """The third failure in a row opens it, for the cooldown."""
    fail(breaker, 2, verdict)
    assert (State.CLOSED, inf, []) == (breaker.state, breaker.due, moves)
    fail(breaker, 1, verdict)
    assert (State.OPEN, clock.now + 1.0) == (breaker.state, breaker.due)
    assert [(State.CLOSED, State.OPEN)] == moves


def test_success_ends_the_row(breaker):
    """A success between failures starts the count anew."""
    fail(breaker, 2)
    breaker.report(breaker.permit, Verdict.SUCCESS)
    fail(breaker, 2)
    assert State.CLOSED is breaker.state


def test_ignored_neither_counts_nor_ends_the_row(breaker):
    """A cancelled request between failures changes nothing."""
    fail(breaker, 2)
    fail(breaker, 5, Verdict.IGNORED)
    assert State.CLOSED is breaker.state
    fail(breaker, 1)
    assert State.OPEN is breaker.state


def test_no_probe_while_closed_or_cooling(breaker, clock):
    """There is no probe to lease before the cooldown has ended."""
    assert UNCOUNTED == breaker.try_probe()
    fail(breaker)
    clock.advance(0.999)
    assert UNCOUNTED == breaker.try_probe()
    assert State.OPEN is breaker.state


def test_one_probe(probing, clock, moves):
    """After the cooldown exactly one gets the lease."""
    breaker, permit = probing
    assert UNCOUNTED != permit
    assert (State.HALF_OPEN, clock.now + 30.0) == (breaker.state, breaker.due)
    assert UNCOUNTED == breaker.try_probe()
    assert [(State.CLOSED, State.OPEN), (State.OPEN, State.HALF_OPEN)] == moves


def test_good_probe_closes(probing, moves):
    """A probe that succeeds closes it, with a count that begins at zero."""
    breaker, permit = probing
    breaker.report(permit, Verdict.SUCCESS)
    assert (State.CLOSED, inf) == (breaker.state, breaker.due)
    assert (State.HALF_OPEN, State.CLOSED) == moves[-1]
    fail(breaker, 2)
    assert State.CLOSED is breaker.state


def test_cooldown_doubles_up_to_the_most(opened, clock):
    """Each failed probe doubles the cooldown, up to the most; closing starts anew."""
    cooldowns = []
    for _ in range(5):
        cooldowns.append(opened.due - clock.now)
        clock.now = opened.due
        opened.report(opened.try_probe(), Verdict.FAILURE)
    assert [1.0, 2.0, 4.0, 6.0, 6.0] == cooldowns
    clock.now = opened.due
    opened.report(opened.try_probe(), Verdict.SUCCESS)
    fail(opened)
    assert 1.0 == opened.due - clock.now


def test_jitter_comes_on_top(clock):
    """The jitter adds up to its share of the cooldown."""
    rng, added = Random(3), []
    for _ in range(500):
        breaker = Breaker(clock, rng, OutlierConfig(failures=1, cooldown=10.0, jitter=0.5))
        fail(breaker, 1)
        added.append(breaker.due - clock.now - 10.0)
    assert 0 <= min(added) < 0.2
    assert 4.8 < max(added) < 5.0


def test_cancelled_probe_gives_the_lease_back(probing, clock, moves):
    """A probe whose caller went away lets the next probe go at once; no cooldown grows."""
    breaker, permit = probing
    breaker.report(permit, Verdict.IGNORED)
    assert (State.OPEN, clock.now) == (breaker.state, breaker.due)
    assert (State.HALF_OPEN, State.OPEN) == moves[-1]
    second = breaker.try_probe()
    assert second not in {UNCOUNTED, permit}
    breaker.report(second, Verdict.FAILURE)
    assert 2.0 == breaker.due - clock.now


def test_lost_probe_expires(probing, clock, moves):
    """A probe that never reports keeps the lease for its time and no longer."""
    breaker, lost = probing
    clock.advance(29.9)
    assert UNCOUNTED == breaker.try_probe()
    clock.advance(0.1)
    second = breaker.try_probe()
    assert second not in {UNCOUNTED, lost}
    assert (State.HALF_OPEN, State.HALF_OPEN) == moves[-1]
    for verdict in Verdict:
        breaker.report(lost, verdict)
    assert State.HALF_OPEN is breaker.state
    breaker.report(second, Verdict.SUCCESS)
    assert State.CLOSED is breaker.state


def test_late_probe_counts_if_nobody_took_over(probing, clock):
    """A lease that has expired is still good while nobody else has it."""
    breaker, permit = probing
    clock.advance(100.0)
    breaker.report(permit, Verdict.SUCCESS)
    assert State.CLOSED is breaker.state


@pytest.mark.parametrize("verdict", list(Verdict))
def test_late_reports_are_not_heard(breaker, clock, verdict):
    """What began before it opened changes nothing while it is open, half-open or closed again."""
    early = breaker.permit
    fail(breaker)
    due = breaker.due
    breaker.report(early, verdict)
    assert (State.OPEN, due) == (breaker.state, breaker.due)
    clock.now = due
    probe = breaker.try_probe()
    breaker.report(early, verdict)
    assert State.HALF_OPEN is breaker.state
    breaker.report(probe, Verdict.SUCCESS)
    fail(breaker, 2)
    breaker.report(early, verdict)
    assert State.CLOSED is breaker.state
    fail(breaker, 1)
    assert State.OPEN is breaker.state


@pytest.mark.parametrize("verdict", list(Verdict))
def test_requests_sent_although_open_are_not_heard(opened, clock, verdict):
    """A request picked while it was not closed changes nothing, whenever it reports."""
    assert UNCOUNTED == opened.permit
    clock.now = opened.due
    probe = opened.try_probe()
    fail(opened, 5, verdict)
    assert (State.HALF_OPEN, UNCOUNTED) == (opened.state, opened.permit)
    opened.report(probe, Verdict.SUCCESS)
    for _ in range(5):
        opened.report(UNCOUNTED, verdict)
    assert State.CLOSED is opened.state


def test_a_probe_reports_once(probing):
    """A probe's second report changes nothing."""
    breaker, permit = probing
    breaker.report(permit, Verdict.SUCCESS)
    fail(breaker, 2)
    breaker.report(permit, Verdict.FAILURE)
    assert State.CLOSED is breaker.state


def test_configure_keeps_what_was_learned(breaker):
    """With a lower bound, failures counted before count."""
    fail(breaker, 1)
    breaker.configure(OutlierConfig(failures=2, success_rate=0.0))
    fail(breaker, 1)
    assert State.OPEN is breaker.state
    assert "<Breaker open>" == repr(breaker)


def test_moved_is_called_outside_the_lock(clock):
    """Who hears of a move may use the breaker."""
    heard = []

    def moved(before, after):
        heard.append((before, after))
        breaker.report(breaker.permit, Verdict.FAILURE)
        breaker.try_probe()

    breaker = Breaker(clock, Random(1), CONFIG, moved)
    fail(breaker)
    assert [(State.CLOSED, State.OPEN)] == heard


def test_many_threads_one_probe(opened, clock):
    """Of many threads that ask at once, one gets the probe."""
    clock.now = opened.due
    together, leases = threading.Barrier(8), Counter()

    def ask():
        together.wait()
        for _ in range(200):
            leases[opened.try_probe() != UNCOUNTED] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == leases[True]


def test_blame_that_is_taken_back_does_not_count(breaker):
    """A failure that was not the endpoint's brings it no nearer to opening."""
    for _ in range(20):
        permit = breaker.permit
        assert breaker.report(permit, Verdict.FAILURE)
        breaker.take_back(permit)
    fail(breaker, 2)
    assert State.CLOSED is breaker.state


def test_the_failure_that_opened_it_can_be_taken_back(breaker, moves):
    """It closes again: without that failure it had not opened."""
    permit = breaker.permit
    fail(breaker)
    breaker.take_back(permit)
    assert (State.CLOSED, inf) == (breaker.state, breaker.due)
    assert [(State.CLOSED, State.OPEN), (State.OPEN, State.CLOSED)] == moves
    breaker.take_back(permit)
    fail(breaker, 2)
    assert State.CLOSED is breaker.state


def test_after_a_probe_it_is_too_late_to_take_back(probing):
    """From then on the probes decide."""
    breaker, permit = probing
    breaker.take_back(permit - 2)
    assert State.HALF_OPEN is breaker.state
    breaker.report(permit, Verdict.FAILURE)
    for stale in range(permit + 2):
        breaker.take_back(stale)
    assert State.OPEN is breaker.state


@pytest.mark.parametrize("connected", [True, False])
def test_it_knows_whether_anybody_is_there(clock, connected):
    """What opened it, and each probe that failed, says whether a connection came about."""
    breaker = Breaker(clock, Random(1), OutlierConfig(connect_failures=2, failures=2, jitter=0.0))
    for _ in range(2):
        breaker.report(breaker.permit, Verdict.RETRYABLE, connected=connected)
    assert (State.OPEN, not connected) == (breaker.state, breaker.unreachable)
    clock.now = breaker.due
    breaker.report(breaker.try_probe(), Verdict.FAILURE, connected=not connected)
    assert connected is breaker.unreachable
    clock.now = breaker.due
    breaker.report(breaker.try_probe(), Verdict.SUCCESS)
    assert not breaker.unreachable
