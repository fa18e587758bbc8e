"""A Workload API on a unix socket, and sources that end with the test."""

from __future__ import annotations

import threading
import time

import pytest

from meshlib.control.spiffe.source import WorkloadIdentity
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.workload_api import WorkloadApi

PATIENCE = 20.0
"""Seconds until a test that hangs is given up; never reached when it passes."""


class Ear:
    """An `event` that can be waited for."""

    def __init__(self):
        self.heard = []
        self._changed = threading.Condition()

    def __call__(self, kind, subject, text):
        with self._changed:
            self.heard.append((kind, subject, text))
            self._changed.notify_all()

    def of(self, kind):
        return [text for had, _, text in self.heard if had == kind]

    def hears(self, kind):
        """The text of the first event of that kind, once it is there."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.of(kind), PATIENCE), self.heard
            return self.of(kind)[0]


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def ca():
    return ThrowawayCA(now=time.time())


@pytest.fixture
def partner():
    return ThrowawayCA("partner.org", now=time.time())


@pytest.fixture
def api(tmp_path):
    served = WorkloadApi(f"unix:{tmp_path}/agent.sock").start()
    yield served
    served.stop()


@pytest.fixture
def source(api, ear):
    made = []

    def make(**options):
        options = {"address": api.address, "event": ear, **options}
        made.append(WorkloadIdentity(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def until():
    """Wait for a value of a watch that passes a test."""

    def wait(watch, passes):
        there = threading.Event()
        stop = watch.subscribe(lambda: passes(watch.value) and there.set())
        try:
            assert there.wait(PATIENCE), f"not reached: {watch.value}"
        finally:
            stop()
        return watch.value

    return wait
