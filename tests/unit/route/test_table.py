from __future__ import annotations

from random import Random

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Call, Target
from meshlib.route.split import Leg, Split, whole
from meshlib.route.table import CATCH_ALL, Route, RouteTable, single, straight

V1, V2, OTHER = Target("backend", "v1"), Target("backend", "v2"), Target("legacy")


def is_post(call):
    """What a route may ask."""
    return call.method == "POST"


def test_a_service_without_routes_goes_straight():
    """Everything goes to the one target, by the route that catches all."""
    table = straight(V1)
    assert V1 == table.choose(Call("backend"), Random(1))
    assert CATCH_ALL == table.match(Call("backend")).name


def test_the_first_route_that_matches_decides():
    """Order counts; what nothing matched falls to the last."""
    posts = Route("posts", whole(V2), is_post)
    table = RouteTable((posts, Route("late", whole(V1), is_post), Route("rest", whole(OTHER))))
    assert "posts" == table.match(Call("backend", method="POST")).name
    assert V2 == table.choose(Call("backend", method="POST"), Random(1))
    assert "rest" == table.match(Call("backend")).name
    assert OTHER == table.choose(Call("backend"), Random(1))


def test_a_table_splits():
    """Calls of one route go to all its targets, another service among them."""
    table = single(Split((Leg(V1, 50), Leg(OTHER, 50))))
    rng = Random(1)
    assert {V1, OTHER} == {table.choose(Call("backend"), rng) for _ in range(50)}


@pytest.mark.parametrize(
    "routes",
    [
        (),
        (Route("posts", whole(V1), is_post),),
        (Route("all", whole(V1)), Route("posts", whole(V2), is_post)),
        (Route("all", whole(V1)), Route("again", whole(V2))),
    ],
)
def test_exactly_the_last_route_catches_all(routes):
    """A table with calls it has no answer for, or routes it never reaches, is refused."""
    with pytest.raises(ConfigError, match="the last"):
        RouteTable(routes)


def test_equal_tables_are_equal():
    """A rewrite of the same routes is not a change."""
    assert single(Split((Leg(V1, 90), Leg(V2, 10)))) == single(Split((Leg(V1, 90), Leg(V2, 10))))
    assert straight(V1) != straight(V2)


def test_targets_come_once_and_in_order():
    """Whoever prepares upstreams asks for every target there is."""
    split = Split((Leg(V1, 90), Leg(V2, 10)))
    table = RouteTable((Route("posts", whole(V2), is_post), Route("rest", split)))
    assert (V2, V1) == table.targets
