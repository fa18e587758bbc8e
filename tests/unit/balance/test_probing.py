from __future__ import annotations

from random import Random

import pytest

from meshlib.balance.load import EndpointState
from meshlib.balance.picker import NothingToPick
from meshlib.balance.probing import Probing
from meshlib.config import OutlierConfig
from meshlib.model import Verdict
from meshlib.policy.breaker import Breaker

CONFIG = OutlierConfig(failures=1, cooldown=1.0, jitter=0.0)


class Watched(Breaker):
    """A breaker that counts how often it is asked for a probe."""

    asked = 0

    def try_probe(self):
        type(self).asked += 1
        return super().try_probe()


@pytest.fixture
def broken(endpoints, clock):
    """Make states whose breakers opened 10 ms after each other."""

    def make(count):
        Watched.asked = 0
        made = []
        for endpoint in endpoints(*[1] * count):
            breaker = Watched(clock, Random(0), CONFIG)
            breaker.report(breaker.permit, Verdict.FAILURE)
            made.append(EndpointState(endpoint, breaker))
            clock.advance(0.01)
        return made

    return make


def test_a_due_probe_is_found_without_a_scan(broken, attempt, clock):
    """With many broken, only those that are due are asked, in the order they opened."""
    states = broken(90)
    picker = Probing(NothingToPick(), states, clock)
    assert picker.pick(attempt()) is None
    assert 0 == Watched.asked
    clock.now = states[2].breaker.due
    picks = [picker.pick(attempt()) for _ in range(20)]
    assert ["a", "b", "c"] == [pick.endpoint.id for pick in picks if pick]
    assert 3 == Watched.asked


def test_a_probe_somebody_else_took(broken, attempt, clock):
    """A lease taken through another picker is not given twice."""
    states = broken(2)
    mine, other = (Probing(NothingToPick(), states, clock) for _ in range(2))
    clock.advance(1.0)
    assert "a" == other.pick(attempt()).endpoint.id
    assert "b" == mine.pick(attempt()).endpoint.id
    assert mine.pick(attempt()) is None
    assert other.pick(attempt()) is None


def test_one_that_was_taken_does_not_hide_the_next(broken, attempt, clock):
    """Finding out that a lease was taken loses nobody who is due later."""
    first, second = states = broken(2)
    mine, other = (Probing(NothingToPick(), states, clock) for _ in range(2))
    clock.now = first.breaker.due
    assert "a" == other.pick(attempt()).endpoint.id
    assert mine.pick(attempt()) is None
    clock.now = second.breaker.due
    assert "b" == mine.pick(attempt()).endpoint.id


def test_a_note_moves_the_time(broken, attempt, clock):
    """A breaker that is due sooner than it was is probed sooner, if it is one of ours."""
    ours, stranger = broken(2)
    clock.advance(1.0)
    permit = ours.breaker.try_probe()
    picker = Probing(NothingToPick(), [ours], clock)
    assert picker.pick(attempt()) is None
    ours.breaker.report(permit, Verdict.IGNORED)
    picker.note(stranger)
    assert picker.pick(attempt()) is None
    picker.note(ours)
    assert "a" == picker.pick(attempt()).endpoint.id
