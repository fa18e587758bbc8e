"""Two attempts side by side in threads, and the thread that calls back later."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from meshlib.adapters.grpc.alarms import Alarms
from meshlib.adapters.grpc.racing import handles, race
from meshlib.runtime import real_clock, run_sync

PATIENCE = 20.0
request_of = ContextVar("request_of", default="nobody's")


class OnTheWire:
    """An attempt that waits until it is answered or cancelled."""

    def __init__(self):
        self.ended, self.begun, self.cancelled = threading.Event(), threading.Event(), False

    def cancel(self):
        self.cancelled = True
        self.ended.set()

    async def __call__(self):
        for handle in handles(None):
            handle.begun(self)
        self.begun.set()
        assert self.ended.wait(PATIENCE)
        return "cancelled" if self.cancelled else "answered"


async def answered():
    return "answered"


async def failed():
    return "failed"


async def broken():
    raise RuntimeError("a bug")


def wins(outcome):
    return outcome == "answered"


def never():
    raise AssertionError("nobody asked for company")


def raced(first, second, seconds=0.0):
    return run_sync(race(first, seconds, second, wins))


def test_an_answer_in_time_needs_no_company():
    """The second is never made."""
    assert ("answered", None) == raced(answered(), never, PATIENCE)


def test_company_that_answers_cancels_the_slow_one():
    """Both have ended when the race is over."""
    slow = OnTheWire()
    assert ("cancelled", "answered") == raced(slow(), answered)


def test_company_that_fails_lets_the_slow_one_go_on():
    """It is only an answer that ends the race."""
    slow = OnTheWire()

    async def fails():
        slow.ended.set()
        return "failed"

    assert ("answered", "failed") == raced(slow(), fails)


def test_whoever_answers_first_cancels_the_company():
    """Also when the second was begun before."""
    first, company = OnTheWire(), OnTheWire()
    threading.Thread(target=lambda: company.begun.wait(PATIENCE) and first.ended.set()).start()
    assert ("answered", "cancelled") == raced(first(), company)


def test_a_first_that_fails_leaves_it_to_the_company():
    """The race goes on until the second has ended too."""
    company, first = OnTheWire(), OnTheWire()

    async def fails():
        await first()
        return "failed"

    def answer():
        company.begun.wait(PATIENCE)
        first.ended.set()
        company.ended.set()

    threading.Thread(target=answer).start()
    assert ("failed", "answered") == raced(fails(), company)


def test_a_first_that_raises_ends_the_race():
    """The company is cancelled, and what was raised is raised."""
    company, first = OnTheWire(), OnTheWire()

    async def raises():
        await first()
        await broken()

    threading.Thread(target=lambda: company.begun.wait(PATIENCE) and first.ended.set()).start()
    with pytest.raises(RuntimeError, match="a bug"):
        raced(raises(), company)
    assert company.cancelled


def test_company_that_nobody_can_pay():
    """None in place of a second: the first goes on alone."""
    slow, refused = OnTheWire(), []

    def refuse():
        refused.append(1)
        slow.ended.set()

    assert ("answered", None) == raced(slow(), refuse)
    assert [1] == refused


def test_company_is_of_the_same_request():
    """The second sees the context of whoever asked, in a thread of its own."""
    token = request_of.set("the user's")
    slow, seen = OnTheWire(), []

    async def looks():
        seen.append((request_of.get(), threading.current_thread() is threading.main_thread()))
        return "answered"

    assert ("cancelled", "answered") == raced(slow(), looks)
    request_of.reset(token)
    assert [("the user's", False)] == seen
    assert () == handles(None)


@pytest.fixture
def alarms():
    return Alarms(real_clock)


def test_alarms_are_called_in_the_order_of_their_times(alarms):
    """One that is due earlier does not wait for one that was asked for before."""
    told, due = [], threading.Event()
    alarms.after(10 * PATIENCE, lambda: told.append("late"))
    alarms.after(0.0, due.set)
    assert due.wait(PATIENCE)
    assert [] == told


def test_an_alarm_that_is_called_off(alarms):
    """It is not called; the others are."""
    told, last = [], threading.Event()
    alarms.after(0.01, lambda: told.append("off")).call_off()
    alarms.after(0.02, last.set)
    assert last.wait(PATIENCE)
    assert [] == told
