"""A fleet in which some have sidecars and some have not must agree on who has a key."""

from __future__ import annotations

from random import Random

import pytest

from meshlib.balance.upstream import Upstream
from meshlib.config import HashConfig, HashKeyConfig, UpstreamConfig
from meshlib.model import Attempt, Bound, Call, Endpoint, Snapshot
from meshlib.testing.clock import FakeClock

HASHING = HashConfig(keys=(HashKeyConfig(header="x-user"),))


@pytest.mark.parametrize("weights", ["even", "uneven"])
@pytest.mark.parametrize("balancer", ["ring_hash", "maglev"])
def test_the_same_key_goes_to_the_same_endpoint(ask, ports, weights_of, balancer, weights):
    """Fifty keys, sent through a real Envoy, land where our picker sends them."""
    config = UpstreamConfig(balancer=balancer, hashing=HASHING)
    upstream = Upstream("b", FakeClock(), Random(1), config)
    members = zip(ports, weights_of(weights), strict=True)
    endpoints = (Endpoint(str(port), "127.0.0.1", port, weight) for port, weight in members)
    upstream.update(Bound(Snapshot("b", tuple(endpoints))))
    keys = [f"user-{n}" for n in range(50)]
    theirs = [ask(balancer, weights, key) for key in keys]
    attempts = [Attempt(Call("b", headers={"x-user": key})) for key in keys]
    assert theirs == [upstream.picker().pick(attempt).endpoint.port for attempt in attempts]
    assert len(set(theirs)) > 2
