"""Endpoints, their states and attempts, in as few words as the tests need."""

from __future__ import annotations

from random import Random

import pytest

from meshlib.balance.load import EndpointState
from meshlib.config import OutlierConfig
from meshlib.model import Attempt, Call, Endpoint
from meshlib.policy.breaker import Breaker
from meshlib.testing.clock import FakeClock


@pytest.fixture
def clock():
    """Time that stands still."""
    return FakeClock()


@pytest.fixture
def endpoints():
    """Make endpoints a, b, c, ... of these weights."""

    def make(*weights):
        return tuple(
            Endpoint(chr(ord("a") + n) if n < 26 else str(n), "127.0.0.1", 9000 + n, weight)
            for n, weight in enumerate(weights)
        )

    return make


@pytest.fixture
def states(endpoints, clock):
    """Make the states of endpoints of these weights."""

    def make(*weights):
        return [
            EndpointState(endpoint, Breaker(clock, Random(0), OutlierConfig()))
            for endpoint in endpoints(*weights)
        ]

    return make


@pytest.fixture
def attempt():
    """Make an attempt of a call that has tried these endpoints or states."""

    def make(*tried):
        endpoints = tuple(getattr(one, "endpoint", one) for one in tried)
        return Attempt(Call("b", tried=endpoints))

    return make
