"""Shedding by priority."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import ShedConfig
from meshlib.policy.shed import Shedder

CALM = {"lag": 0.0, "cpu": 0.1}
LATE = {"lag": 0.2, "cpu": 0.1}
HOT = {"lag": 0.0, "cpu": 0.95}


def shedder():
    return Shedder(ShedConfig(), random.Random(1))


def refused(made, priority, asked=1000):
    return sum(made.refuses(priority) for _ in range(asked)) / asked


def overload(made, ticks, *priorities, load=None):
    for _ in range(ticks):
        for priority in priorities:
            made.refuses(priority)
        made.measured(**(load or LATE))


def test_nobody_is_refused_in_calm():
    """Not even the least urgent."""
    made = shedder()
    made.measured(**CALM)
    assert 0 == refused(made, 7)


def test_the_least_urgent_go_first():
    """With urgent and idle work together, the idle is gone before the urgent is touched."""
    made = shedder()
    overload(made, 5, 1, 6)
    assert (0.0, 1.0) == (refused(made, 1), refused(made, 6))


def test_traffic_of_one_priority_is_shed_smoothly():
    """A fifth more with every measurement, beginning with the first."""
    made = shedder()
    overload(made, 1, 3)
    assert 0.15 < refused(made, 3) < 0.25
    overload(made, 2, 3)
    assert 0.55 < refused(made, 3) < 0.65


def test_the_most_urgent_is_never_shed():
    """However long it lasts."""
    made = shedder()
    overload(made, 100, 0, 3, load=HOT)
    assert (0.0, 1.0) == (refused(made, 0), refused(made, 3))
    assert "95% of the processor" in made.why


def test_it_comes_back_slowly():
    """Four calm measurements make up for one late one."""
    made = shedder()
    overload(made, 2, 3)
    before = refused(made, 3)
    for _ in range(4):
        made.measured(**CALM)
    assert 0.15 < before - refused(made, 3) < 0.25


@given(st.lists(st.sampled_from([CALM, LATE, HOT]), max_size=200), st.integers(0, 7))
def test_the_line_is_always_somewhere_sensible(loads, priority):
    """Between 1 and 8, whatever is measured."""
    made = shedder()
    for load in loads:
        made.refuses(priority)
        made.measured(**load)
        assert 1.0 <= made.line <= 8.0
