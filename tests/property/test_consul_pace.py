"""The rules of blocking queries against agents that restart, restore and lie about their index."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.consul.pace import (
    BURST,
    INTERVAL,
    LONGEST_PAUSE,
    UNINDEXED,
    Pace,
    Position,
    reconnect_pause,
)
from meshlib.testing.clock import FakeClock

WAIT = 55.0
ROUND_TRIP = 0.001


class NaivePosition:
    """Waits from whatever was heard last."""

    def __init__(self):
        self.index = 0

    def advance(self, heard):
        self.index = heard
        return True


class NaivePace:
    """Asks again at once."""

    def __init__(self, clock):
        pass

    def pause(self, *, indexed):
        return 0.0


class Agent:
    """Answers blocking queries as Consul does; its state is a list of (moment, index)."""

    def __init__(self, states, *, header=True):
        self.states, self.header = states, header

    def index_at(self, moment):
        return [index for since, index in self.states if since <= moment][-1]

    def answer(self, index, now):
        """The index that is answered, and when."""
        until = now + WAIT if index else now
        moments = [now, *(since for since, _ in self.states if now < since <= until), until]
        for moment in moments:
            if self.index_at(moment) > index:
                break
        return (self.index_at(moment) if self.header else 0), moment + ROUND_TRIP


def follow(agent, until, position=None, pace=NaivePace):
    """Ask for `until` seconds; the moments of the questions, and what was known from when on."""
    clock, position = FakeClock(0.0), position or Position()
    pace, asked, known = pace(clock), [], []
    while clock.now < until:
        asked.append(clock.now)
        heard, moment = agent.answer(position.index, clock.now)
        clock.now = moment
        known.append((moment, heard))
        position.advance(heard)
        clock.advance(pace.pause(indexed=bool(heard)))
        assert len(asked) < 10_000, "a busy loop"
    return asked, known


def states(least=1):
    """An agent's life: its index moves, mostly forwards, now and then backwards."""
    moves = st.tuples(st.floats(0.001, 20.0), st.integers(least, 1000))

    def laid_out(pairs):
        moment, laid = 0.0, [(0.0, 1)]
        for gap, index in pairs:
            moment += gap
            laid.append((moment, index))
        return laid

    return st.lists(moves, max_size=60).map(laid_out)


@given(states())
def test_consul_index_reset(life):
    """Known hard bug "Consul index reset": whatever the index does, the end state is known.

    At the latest one wait, and the pause after it, later.
    """
    agent, end = Agent(life), life[-1][0]
    _, known = follow(agent, end + 2 * WAIT + 1.0, pace=Pace)
    assert life[-1][1] == known[-1][1]


def test_consul_index_reset_and_a_change_behind_it():
    """Known hard bug: after a restore to a lower index, a change below the old one is heard.

    The naive twin waits from the old index: each change costs it a whole wait.
    """
    restored = [(0.0, 500), (10.0, 20), (70.0, 21), (75.0, 22)]

    def heard_22(position):
        _, known = follow(Agent(restored), 120.0, position, Pace)
        return next((moment for moment, index in known if index == 22), None)

    class Stubborn(Position):
        def advance(self, heard):
            self.index = max(self.index, heard)
            return True

    assert pytest.approx(75.0, abs=1.0) == heard_22(Position())
    assert heard_22(Stubborn()) > 100.0


@given(states(least=0), st.booleans())
def test_consul_busy_loop(life, header):
    """Known hard bug "busy loop": who never blocks, or churns, is asked ten times a second.

    In any stretch of time: a burst, and then one question an interval.
    """
    asked, _ = follow(Agent(life, header=header), life[-1][0] + 60.0, pace=Pace)
    for start, end in ((0, len(asked) - 1), (len(asked) // 2, len(asked) - 1)):
        seconds = asked[end] - asked[start]
        assert end - start <= BURST + 1 + seconds / INTERVAL


@pytest.mark.parametrize(("index", "header"), [(0, True), (7, False)])
def test_consul_busy_loop_of_the_naive_twin(index, header):
    """Known hard bug: an index of zero, or none, makes the naive twin spin; ours asks rarely."""
    agent = Agent([(0.0, index)], header=header)
    with pytest.raises(AssertionError, match="a busy loop"):
        follow(agent, 60.0, NaivePosition())
    asked, _ = follow(agent, 60.0, pace=Pace)
    assert len(asked) <= 2 + 60.0 / UNINDEXED


@given(st.lists(st.floats(0.0, 10.0), min_size=2, max_size=200))
def test_the_first_answers_of_a_rush_are_not_slowed_down(gaps):
    """Pauses are never negative, and a burst's worth of answers passes without one."""
    clock = FakeClock()
    pace = Pace(clock)
    pauses = []
    for gap in gaps:
        pauses.append(pace.pause(indexed=True))
        clock.advance(pauses[-1] + gap)
    assert [0.0] * min(len(gaps), BURST) == pauses[:BURST]
    assert all(pause >= 0.0 for pause in pauses)


@given(st.integers(1, 10_000), st.integers())
def test_a_reconnect_waits_a_bounded_time(attempt, seed):
    """However many attempts failed, the next is at most five seconds away."""
    assert 0.0 <= reconnect_pause(attempt, Random(seed)) <= LONGEST_PAUSE


def comings_back(pause, outage, followers):
    """When each of them reaches an agent that comes back after `outage` seconds."""
    moments = []
    for seed in range(followers):
        rng, moment, attempt = Random(seed), 0.0, 0
        while moment < outage:
            attempt += 1
            moment += pause(attempt, rng)
        moments.append(moment)
    return sorted(moments)


def most_crowded(moments, seconds):
    """The largest share of them within so many seconds."""
    most = max(sum(start <= other < start + seconds for other in moments) for start in moments)
    return most / len(moments)


@pytest.mark.parametrize("outage", [10.0, 17.0, 60.0, 600.0])
def test_thundering_reconnect(outage):
    """Known hard bug "Thundering reconnect": no tenth of a second sees a tenth of the followers.

    The naive twin backs off exponentially without jitter, and all of them come at once.
    """

    def naive(attempt, rng):
        return min(LONGEST_PAUSE, 0.1 * 2.0**attempt)

    assert most_crowded(comings_back(reconnect_pause, outage, 400), 0.1) < 0.1
    assert 1.0 == most_crowded(comings_back(naive, outage, 400), 0.1)


def test_attempts_of_one_follower_become_rarer():
    """In a minute of outage one follower makes some thirty attempts, not hundreds."""
    rng, moments = Random(1), [0.0]
    while moments[-1] < 60.0:
        moments.append(moments[-1] + reconnect_pause(len(moments), rng))
    assert 60 > len(moments)
    assert all(later >= earlier for earlier, later in pairwise(moments))
