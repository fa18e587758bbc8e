from __future__ import annotations

import pytest

from meshlib.control.consul.faults import ServerTrouble
from meshlib.control.consul.reader import IDLE, PACE, Reader
from meshlib.testing.clock import FakeClock


class World:
    """A reader whose steps a test takes."""

    def __init__(self):
        self.clock, self.read, self.broken = FakeClock(), [], set()
        self.reader = Reader(self._read, name="reader", clock=self.clock)
        self.reader._worker = Still()

    def _read(self, name):
        if name in self.broken:
            raise ServerTrouble("no")
        self.read.append(name)

    def steps(self, number):
        return [self.reader.step() for _ in range(number)]


class Still:
    """A worker that leaves the work to the test."""

    def start(self):
        """Nothing."""

    def wake(self):
        """Nothing."""


@pytest.fixture
def world():
    """What is tested."""
    return World()


def test_the_certain_come_first_and_without_a_pause(world):
    """Suspicion has time, and is never a rush."""
    world.reader.want(["a", "b"], certain=False)
    world.reader.want(["c", "b"])
    assert [0.0, 0.0, PACE, IDLE] == world.steps(4)
    assert ["c", "b", "a"] == world.read


def test_each_is_read_once(world):
    """However often it is wanted meanwhile."""
    for certain in (True, False, True):
        world.reader.want(["a"], certain=certain)
    world.steps(3)
    assert ["a"] == world.read


def test_what_fails_is_read_again_after_the_others(world):
    """It stays as certain as it was."""
    world.broken = {"a"}
    world.reader.want(["a", "b"])
    with pytest.raises(ServerTrouble):
        world.reader.step()
    world.broken = set()
    assert [0.0, 0.0, IDLE] == world.steps(3)
    assert ["b", "a"] == world.read


def test_later_is_later(world):
    """Asked for twice, the first time counts; the pause is not longer than that."""
    world.reader.want_later("a", 30.0)
    world.clock.advance(10.0)
    world.reader.want_later("a", 30.0)
    assert [20.0] == world.steps(1)
    world.clock.advance(20.0)
    world.steps(1)
    assert ["a"] == world.read
