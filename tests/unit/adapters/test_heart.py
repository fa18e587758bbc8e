"""What beats for a stall meter."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from meshlib.adapters.heart import LoopHeart, ThreadHeart
from meshlib.testing.clock import FakeClock


class Watched(FakeClock):
    """A clock that tells when somebody has looked at it, so that tests can wait for a beat."""

    def __init__(self):
        super().__init__()
        self.looked = threading.Semaphore(0)
        self.told = None

    def __call__(self):
        self.looked.release()
        if self.told is not None:
            self.told.set()
        return self.now


@pytest.mark.asyncio
async def test_a_loop_that_stood_still():
    """The beat that comes late says for how long, and the next ones are on time."""
    clock = Watched()
    heart = LoopHeart(clock)
    clock.advance(3.0)
    assert pytest.approx(2.9) == heart.meter.stalled(1000.0, clock.now)
    clock.told = asyncio.Event()
    await clock.told.wait()
    assert pytest.approx(2.9) == heart.meter.stalled(1000.0, clock.now)
    assert 0.0 == heart.meter.stalled(clock.now, clock.now + 0.1)
    heart.stop()
    assert 0.0 == heart.meter.stalled(clock.now, clock.now + 9.0)


@pytest.fixture
def clock():
    """A clock that can be waited for."""
    return Watched()


@pytest.fixture
def heart(clock):
    """A heart on a thread, which has begun to beat."""
    made = ThreadHeart(clock)
    made.start()
    assert clock.looked.acquire(timeout=10)
    yield made
    made.stop()


def beats(clock, count=3):
    """Wait until the heart has looked at the clock after now; a beat looks at least once."""
    while clock.looked.acquire(blocking=False):
        pass
    for _ in range(count):
        assert clock.looked.acquire(timeout=10)


def test_a_process_that_stood_still(heart, clock):
    """The same on a thread."""
    beats(clock)
    clock.advance(3.0)
    assert pytest.approx(2.9) == heart.meter.stalled(1000.0, clock.now)
    beats(clock)
    assert pytest.approx(2.9) == heart.meter.stalled(1000.0, clock.now)
    assert 0.0 == heart.meter.stalled(clock.now, clock.now + 0.1)


def test_it_starts_once_and_not_after_its_end(clock):
    """Every stack asks it to; there is one thread."""
    before = set(threading.enumerate())  # a mesh that another test left may beat
    heart = ThreadHeart(clock)
    heart.start()
    heart.start()
    assert ["meshlib-heart"] == [thread.name for thread in set(threading.enumerate()) - before]
    heart.stop()
    heart.start()
    assert not set(threading.enumerate()) - before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_heart_of_its_own(heart, clock):
    """The child does not take its missing thread for a stall, and hears the new one beat."""
    child = os.fork()
    if child == 0:
        clock.looked = threading.Semaphore(0)
        alive = any(thread.name == "meshlib-heart" for thread in threading.enumerate())
        os._exit(0 if alive and clock.looked.acquire(timeout=10) else 1)
    assert (child, 0) == os.waitpid(child, 0)


def test_a_stall_is_told_when_it_is_over(clock):
    """Once, and for how long."""
    heard = []
    told = threading.Event()

    def hear(seconds):
        heard.append(seconds)
        told.set()

    heart = ThreadHeart(clock, hear)
    heart.start()
    beats(clock)
    clock.advance(3.0)
    assert told.wait(10)
    heart.stop()
    assert [pytest.approx(2.9)] == heard
