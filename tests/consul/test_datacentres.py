"""Services of two datacentres that share a CA: certificates by way of the secondary's own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from meshlib.testing.consul_party import Party, who_calls
from meshlib.testing.traffic import Traffic
from meshlib.trust.tls import PeerRejected

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def parties(federation, name):
    """One of the same name in each datacentre, by datacentre, and where it listens."""
    with ExitStack() as running:
        made = {}
        for datacentre, agent in ("dc1", federation.dc1), ("dc2", federation.dc2):
            party = running.enter_context(Party(agent.address(), name))
            made[datacentre] = party, running.enter_context(party.serving(who_calls))
        yield made


@pytest.mark.parametrize(("here", "there"), [("dc1", "dc2"), ("dc2", "dc1")])
def test_from_one_to_the_other(parties, name, here, there):
    """Chains that say an intermediate twice are good; the id names the datacentre of the target."""
    (caller, _), (_, port) = parties[here], parties[there]
    assert caller.greet(name, port, there)


@pytest.mark.parametrize(("here", "there"), [("dc1", "dc2"), ("dc2", "dc1")])
def test_the_datacentre_is_part_of_who_one_is(parties, name, here, there):
    """An instance elsewhere is not taken for the one of the same name that was meant."""
    (caller, own_port), (_, port) = parties[here], parties[there]
    with pytest.raises(PeerRejected, match="not who is expected"):
        caller.greet(name, port)
    with pytest.raises(PeerRejected, match="not who is expected"):
        caller.greet(name, own_port, there)
    assert caller.greet(name, own_port)


def test_a_rotation_under_traffic(parties, federation, name):
    """The secondary gets a new intermediate; its leaves come with a chain that is out of order."""
    (one, port_of_one), (two, port_of_two) = parties["dc1"], parties["dc2"]
    traffic = Traffic()
    traffic.lane("dc1 to dc2", lambda: one.greet(name, port_of_two, "dc2"))
    traffic.lane("dc2 to dc1", lambda: two.greet(name, port_of_one, "dc1"))
    with traffic:
        traffic.flows()
        federation.dc1.rotate_ca()
        traffic.until(lambda: all(len(seen) > 1 for seen in traffic.seen.values()))
        traffic.flows()
