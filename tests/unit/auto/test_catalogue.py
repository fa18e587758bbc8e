"""The list of services, for names that nobody follows."""

from __future__ import annotations

import threading

import pytest

from meshlib.auto.catalogue import FRESH, Catalogue
from meshlib.errors import RegistryUnavailable
from meshlib.model import Bound, Failed, Neg
from meshlib.runtime import SyncRuntime, run_sync
from meshlib.testing.clock import FakeClock


class Services:
    """A control plane that counts how often it is asked."""

    def __init__(self):
        self.names, self.error, self.asked = {"shop"}, None, 0

    def __call__(self):
        self.asked += 1
        if self.error:
            raise self.error
        return self.names


@pytest.fixture
def clock():
    """Time that stands still."""
    return FakeClock()


@pytest.fixture
def services():
    """One service, for now."""
    return Services()


@pytest.fixture
def said(services, clock):
    """What is said of a name, when it is said."""
    catalogue = Catalogue(services, clock)

    def said(name):
        entry = catalogue.entry(name)
        run_sync(entry.answered(SyncRuntime(), 20))
        return entry.resolution

    return said


def test_one_question_is_enough_for_many_names(said, services):
    """As long as the answer is fresh."""
    assert isinstance(said("shop"), Bound)
    assert [Neg()] * 9 == [said(f"host-{number}") for number in range(9)]
    assert 1 == services.asked


def test_a_service_that_comes_later_is_found(said, services, clock):
    """And one that has gone is not any more."""
    assert said("stock") == Neg()
    services.names = {"stock"}
    clock.advance(FRESH / 2)
    assert said("stock") == Neg()
    clock.advance(FRESH / 2)
    assert isinstance(said("stock"), Bound)
    assert said("shop") == Neg()


def test_what_was_known_is_known(said, services, clock):
    """When nobody answers any more; before that, nobody can say."""
    services.error = RegistryUnavailable("it is away")
    assert Failed("it is away") == said("shop")
    clock.advance(FRESH)
    services.error = None
    assert isinstance(said("shop"), Bound)
    clock.advance(FRESH)
    services.error = RegistryUnavailable("it is away")
    assert isinstance(said("shop"), Bound)
    assert 3 == services.asked


def test_nobody_is_held_up(clock):
    """The question is asked on a thread of its own, and once by all who wait for it."""
    answer, asked = threading.Event(), []

    def slow():
        asked.append(threading.current_thread().name)
        answer.wait(20)
        return ("shop",)

    catalogue = Catalogue(slow, clock)
    first, second = catalogue.entry("shop"), catalogue.entry("host")
    assert None is first.resolution is second.resolution
    answer.set()
    run_sync(first.answered(SyncRuntime(), 20))
    assert isinstance(first.resolution, Bound)
    assert Neg() == second.resolution
    assert ["meshlib-catalogue"] == asked
