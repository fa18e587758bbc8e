from __future__ import annotations

import threading

import pytest

from meshlib.balance.picker import NothingToPick, Pick, step_aside
from meshlib.model import Verdict
from meshlib.policy.breaker import UNCOUNTED, State


@pytest.mark.parametrize("verdict", list(Verdict))
def test_pending_until_done(states, verdict):
    """A pick is pending until it is reported, whatever the report says."""
    [state] = states(1)
    first, second = Pick(state, state.breaker.permit), Pick(state, state.breaker.permit)
    assert 2 == state.pending
    first.done(verdict)
    assert 1 == state.pending
    second.done(verdict)
    assert 0 == state.pending


def test_done_once(states):
    """Only the first report counts, for the load and for the breaker."""
    [state] = states(1)
    pick = Pick(state, state.breaker.permit)
    other = Pick(state, state.breaker.permit)
    for _ in range(10):
        pick.done(Verdict.FAILURE)
    assert (1, State.CLOSED) == (state.pending, state.breaker.state)
    other.done(Verdict.IGNORED)
    assert 0 == state.pending


def test_done_tells_the_breaker(states):
    """Five failed picks open the breaker, cancelled ones do not."""
    [state] = states(1)
    for _ in range(20):
        Pick(state, state.breaker.permit).done(Verdict.IGNORED)
    assert State.CLOSED is state.breaker.state
    for _ in range(5):
        Pick(state, state.breaker.permit).done(Verdict.RETRYABLE)
    assert State.OPEN is state.breaker.state


def test_uncounted_pick(states):
    """A pick whose report shall not count is pending like any other."""
    [state] = states(1)
    picks = [Pick(state, UNCOUNTED) for _ in range(9)]
    assert 9 == state.pending
    for pick in picks:
        pick.done(Verdict.FAILURE)
    assert (0, State.CLOSED) == (state.pending, state.breaker.state)


def test_one_report_of_many_threads(states):
    """Threads that report the same pick at once take it off once."""
    [state] = states(1)
    keep = Pick(state, state.breaker.permit)
    for _ in range(50):
        pick, together = Pick(state, state.breaker.permit), threading.Barrier(4)

        def report(pick=pick, together=together):
            together.wait()
            pick.done(Verdict.SUCCESS)

        threads = [threading.Thread(target=report) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 == state.pending
    keep.done(Verdict.SUCCESS)
    assert 0 == state.pending


def test_nothing_to_pick(attempt):
    """An empty set has no pick."""
    assert NothingToPick().pick(attempt()) is None


def test_step_aside(states):
    """The next that is not avoided, around the end; the same if all are avoided."""
    members = states(1, 1, 1)
    a, b, c = (state.key for state in members)
    assert 1 == step_aside(members, 1, {})
    assert 2 == step_aside(members, 1, {b})
    assert 1 == step_aside(members, 2, {c, a})
    assert 2 == step_aside(members, 2, {a, b, c})


def test_only_the_first_report_counts(states):
    """A pick says whether the report was its first."""
    [state] = states(1)
    pick = Pick(state, state.breaker.permit)
    assert pick.done(Verdict.SUCCESS)
    assert not pick.done(Verdict.SUCCESS)


def test_reprs(states):
    """A state and a pick say which endpoint they are of, and how it is doing."""
    [state] = states(1)
    pick = Pick(state, state.breaker.permit)
    assert "<a@127.0.0.1:9000 closed, 1 pending>" == repr(state)
    assert "<Pick a@127.0.0.1:9000>" == repr(pick)
    pick.done(Verdict.SUCCESS)
    assert "<Pick a@127.0.0.1:9000 (done)>" == repr(pick)
