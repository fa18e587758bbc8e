"""How many threads are enough where all need the interpreter's lock."""

from __future__ import annotations

import pytest

from meshlib.policy.enough import FEW, FULL, LEAST, SEVERAL, Enough
from meshlib.testing.clock import FakeClock


class Machine:
    """A clock, and the processors' time of a process."""

    def __init__(self):
        self.clock, self.used = FakeClock(), 0.0
        self.enough = Enough(self.clock, lambda: self.used)

    def crowded(self, load, seconds=0.01):
        """The verdict after some time with so many processors at work."""
        self.clock.advance(seconds)
        self.used += load * seconds
        return self.enough.crowded()


@pytest.fixture
def machine():
    return Machine()


@pytest.mark.parametrize(
    ("load", "crowded"),
    [
        (0.0, False),
        (FULL - 0.01, False),
        (FULL + 0.01, True),
        (1.0, True),
        (SEVERAL - 0.01, True),
        (SEVERAL + 0.01, False),
        (8.0, False),
    ],
)
def test_one_processor_at_work_is_one_lock(machine, load, crowded):
    """Threads that wait leave it idle, and those that need no lock keep several busy."""
    assert crowded is machine.crowded(load)


def test_half_as_many_when_it_is_crowded(machine):
    """And never fewer than a few."""
    for _ in range(13):
        machine.enough.more()
    assert FEW + 13 == machine.enough.threads
    seen = [machine.crowded(1.0) and machine.enough.threads for _ in range(5)]
    assert [(FEW + 13) // 2, (FEW + 13) // 4, FEW, FEW, FEW] == seen


def test_nothing_changes_where_it_is_not_crowded(machine):
    """Who needs more says so."""
    machine.enough.more()
    assert not machine.crowded(0.5)
    assert FEW + 1 == machine.enough.threads


def test_each_look_is_about_the_time_since_the_last(machine):
    """What was long ago does not count."""
    assert not machine.crowded(0.0, seconds=100.0)
    assert machine.crowded(1.0)
    assert not machine.crowded(0.1)


def test_too_soon_to_tell(machine):
    """The last verdict stands, and what is used meanwhile is not lost."""
    assert machine.crowded(1.0)
    machine.enough.more()
    assert machine.crowded(0.0, seconds=LEAST * 0.9)
    assert FEW + 1 == machine.enough.threads
    assert not machine.crowded(0.0, seconds=LEAST)
