from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.consul.health import Health, read_health
from meshlib.model import Endpoint, Locality, Node

NODE = {
    "ID": "d27af18a",
    "Node": "n1",
    "Address": "10.0.0.1",
    "Datacenter": "dc1",
    "TaggedAddresses": {"lan": "10.0.0.1", "wan": "192.0.2.1"},
    "Meta": {"rack": "r7"},
    "CreateIndex": 10,
    "ModifyIndex": 12,
}


def instance(*states, id_="web-1", node=NODE, **service):
    """One entry of an answer, as Consul 1.8 sends it."""
    said = {
        "ID": id_,
        "Service": "web",
        "Tags": ["blue"],
        "Address": "10.1.0.1",
        "Meta": {"version": "v1", "zone": "a"},
        "Port": 8443,
        "Weights": {"Passing": 10, "Warning": 2},
        "EnableTagOverride": False,
        "Proxy": {"MeshGateway": {}, "Expose": {}},
        "Connect": {"Native": True},
        "CreateIndex": 22,
        "ModifyIndex": 22,
        **service,
    }
    checks = [{"Node": "n1", "CheckID": f"c{n}", "Status": s} for n, s in enumerate(states)]
    return {"Node": node, "Service": said, "Checks": checks}


def endpoints(*items):
    return read_health(list(items)).endpoints


def test_an_instance_of_consul_1_8():
    """Everything a balancer or a filter may ask."""
    expected = Endpoint(
        "web-1",
        "10.1.0.1",
        8443,
        10,
        Locality("", "a"),
        {"version": "v1", "zone": "a"},
        ("blue",),
        Node("n1", "10.0.0.1", "dc1", {"rack": "r7"}),
    )
    (found,) = endpoints(instance("passing", "passing"))
    assert expected == found
    assert {"rack": "r7"} == found.node.meta


def test_an_instance_of_consul_1_21():
    """Locality has a place of its own; what is not known is ignored."""
    sidecar = instance(
        "passing",
        Kind="connect-proxy",
        Locality={"Region": "eu", "Zone": "eu-1a"},
        Proxy={"DestinationServiceName": "web", "Mode": "", "AccessLogs": {}},
        PeerName="",
        Meta=None,
        Tags=None,
        TaggedAddresses={"lan_ipv4": {"Address": "10.1.0.1", "Port": 8443}},
    )
    (found,) = endpoints(sidecar)
    assert Locality("eu", "eu-1a") == found.locality
    assert ({}, ()) == (found.meta, found.tags)


@pytest.mark.parametrize(
    ("states", "weight"),
    [
        ((), 10),
        (("passing", "passing"), 10),
        (("passing", "warning"), 2),
        (("warning", "critical"), None),
        (("critical", "passing"), None),
        (("maintenance",), None),
        (("", "passing"), None),
    ],
)
def test_health_is_what_envoy_would_be_told(states, weight):
    """One critical check is enough to be left out, one warning to have the other weight."""
    found = endpoints(instance(*states))
    assert ([] if weight is None else [weight]) == [each.weight for each in found]
    assert all(("warning" in states) == each.warning for each in found)


@pytest.mark.parametrize(
    ("weights", "states", "weight"),
    [
        ({"Passing": 1, "Warning": 0}, ("warning",), None),
        ({"Passing": 1, "Warning": 0}, ("passing",), 1),
        ({"Passing": 1000, "Warning": 1}, ("passing",), 128),
        ({"Passing": -1, "Warning": 1}, ("passing",), None),
        (None, ("warning",), 1),
    ],
)
def test_weights_have_bounds(weights, states, weight):
    """Below one is unhealthy, 128 is the most."""
    found = endpoints(instance(*states, Weights=weights))
    assert ([] if weight is None else [weight]) == [each.weight for each in found]


def test_who_has_no_address_is_where_its_node_is():
    """Consul leaves the service's address empty then."""
    (found,) = endpoints(instance("passing", Address=""))
    assert "10.0.0.1" == found.host


@pytest.mark.parametrize("port", [0, -1, 65536, "80", None])
def test_who_has_no_port_cannot_be_called(port):
    """It is known, and not an endpoint."""
    health = read_health([instance("passing", Port=port)])
    assert ((), 1) == (health.endpoints, health.instances)


def test_the_order_of_an_answer_means_nothing():
    """Equal contents are equal; the same id may be on several nodes."""
    first = instance("passing")
    second = instance("passing", node={**NODE, "Node": "n2"}, Address="10.1.0.2")
    assert read_health([first, second]) == read_health([second, first])
    assert 2 == len(endpoints(first, second))
    assert frozenset({"n1", "n2"}) == read_health([first, second]).nodes


def test_indexes_and_output_are_not_content():
    """A check that says the same in other words changes nothing."""
    item = instance("passing", ModifyIndex=99, RaftIndex=1)
    item["Checks"][0] |= {"Output": "pong", "ModifyIndex": 99}
    assert read_health([instance("passing")]) == read_health([item])


def test_three_thousand_endpoints_are_small():
    """At most 1.5 KiB each."""
    names = [f"web-{number}" for number in range(3000)]
    items = [instance("passing", id_=name, Meta={"version": "v1"}) for name in names]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        health = read_health(items)
        size = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 3000 == len(health.endpoints)
    assert size < 1536 * 3000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["Node", "Service", "Checks", "Status", "Meta", "Tags", "Weights"])
            | st.sampled_from(["Port", "Address", "Passing", "ID", "Locality", "Zone"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_no_answer_breaks_it(body):
    """Whatever comes, it is read or left out."""
    assert isinstance(read_health(body), Health)
    assert isinstance(read_health([body]), Health)
