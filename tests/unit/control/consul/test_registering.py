"""What an instance looks like to Consul."""

from __future__ import annotations

import pytest

from meshlib.control.consul.registering import body, check_id, health
from meshlib.control.registry import Registration
from meshlib.model import Locality


def one(**more) -> Registration:
    """An instance."""
    return Registration(**{"service": "shop", "id": "i", "host": "10.0.0.1", "port": 80, **more})


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("shop.example", "shop.example"),
        ("::1", "::1"),
        ("0.0.0.0", ""),
        ("::", ""),
    ],
)
def test_where_it_is_found(host, address):
    """Nobody can call "all addresses": Consul has the address of the node for that."""
    assert address == body(one(host=host), ttl=10, passing=True)["Address"]


def test_a_weight_that_consul_takes():
    """It refuses zero."""
    assert 1 == body(one(weight=0), ttl=10, passing=True)["Weights"]["Passing"]
    assert 7 == body(one(weight=7), ttl=10, passing=True)["Weights"]["Passing"]


def test_one_check_with_the_id_it_is_updated_by():
    """In Go's duration; born healthy or not."""
    (check,) = body(one(), ttl=2.5, passing=False)["Checks"]
    assert (check_id(one()), "2.5s", "critical") == (
        check["CheckID"],
        check["TTL"],
        check["Status"],
    )


def test_what_callers_choose_by():
    """Version as tag and as metadata; the place only where it is known."""
    said = body(one(meta={"version": "v2"}, locality=Locality("", "a")), ttl=1, passing=True)
    assert {"version": "v2", "zone": "a"} == said["Meta"]
    assert ["meshlib", "v2"] == said["Tags"]


def test_health():
    """In Consul's words."""
    assert {"Status": "passing", "Output": ""} == health(passing=True, note="")
    assert {"Status": "critical", "Output": "no disk"} == health(passing=False, note="no disk")
