"""
Where calls to one service go: ordered routes, each with a split; the first that matches decides.

A table is immutable and comparable, so that a write that changed nothing wakes nobody.  The last
route catches all, as the one Consul adds to every service-router.  A leg may name another
service; that service's own splitter is not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from meshlib.errors import ConfigError
from meshlib.model import Call, Target
from meshlib.route.rules import Rules
from meshlib.route.split import Split, whole
from meshlib.runtime import Rng

Match: TypeAlias = Callable[[Call], bool]
"""Whether a route is for this call; compare equal when you mean the same."""

CATCH_ALL = "default"
"""The name of the route that takes what no other did."""


@dataclass(frozen=True, slots=True)
class Route:
    """A rule and where it leads."""

    name: str
    split: Split
    match: Match | None = None
    """None takes every call."""
    rules: Rules | None = None
    """What else is done to its calls; None: nothing."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes of one service.  Raises ConfigError unless the last one, only, catches all."""

    routes: tuple[Route, ...]

    def __post_init__(self) -> None:
        catching = [number for number, route in enumerate(self.routes) if route.match is None]
        if catching != [len(self.routes) - 1]:
            names = [route.name for route in self.routes]
            raise ConfigError("Routes", names, "one route that takes every call, the last")

    def match(self, call: Call) -> Route:
        """The route for this call."""
        for route in self.routes[:-1]:
            if route.match is None or route.match(call):
                return route
        return self.routes[-1]

    def choose(self, call: Call, rng: Rng) -> Target:
        """Where this call goes."""
        return self.match(call).split.choose(call, rng).target

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every target a call may be sent to, each once, in the order of the routes."""
        legs = (leg for route in self.routes for leg in route.split.legs)
        return tuple(dict.fromkeys(leg.target for leg in legs))


def straight(target: Target) -> RouteTable:
    """The table of a service without routes: everything to one target."""
    return single(whole(target))


def single(split: Split, rules: Rules | None = None) -> RouteTable:
    """The table that has nothing but the route that catches all."""
    return RouteTable((Route(CATCH_ALL, split, rules=rules),))
