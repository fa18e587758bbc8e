"""
Where a leg leads in the end.

A leg may lead to a service that splits its calls itself, or hands them to another one.  As Consul
does when it compiles a discovery chain, splitters that follow each other become one, with the
product of the weights, and redirects are followed.  A redirect leads to a service's endpoints and
past its splitter; so does a leg that names a subset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from meshlib.control.documents import ServiceSplitter, SplitterLeg
from meshlib.control.resolver import ResolverRedirect
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.split import WHOLE, Leg

DEEPEST = 8
"""Services on the way from a leg to its endpoints.  Each may double the number of legs."""

Trail: TypeAlias = tuple[str, ...]
"""The services on the way, the first one first."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What the documents of one service say of the calls that reach it."""

    splitter: ServiceSplitter | None = None
    redirect: ResolverRedirect | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """Follows ways from service to service.  Raises ConfigError for those that never end."""

    ways: Callable[[str], Ways]

    def resolved(self, target: Target, path: str) -> Target:
        """Where redirects lead from `target`; the path is for the error."""
        trail: Trail = (target.service,)
        while (redirect := self.ways(target.service).redirect) is not None:
            target = Target(redirect.service or target.service, redirect.service_subset)
            trail = _further(trail, target.service, path)
        return target

    def legs(self, target: Target, path: str, trail: Trail = ()) -> Iterator[Leg]:
        """Where calls to `target` go, in percent of them.  A target may come twice."""
        splitter = None if target.subset else self.ways(target.service).splitter
        if splitter is None or trail[-1:] == (target.service,):
            yield Leg(self.resolved(target, path), WHOLE)
            return
        trail = _further(trail, target.service, path)
        for said in splitter.splits:
            onward = Target(said.service or target.service, said.service_subset)
            for leg in self.legs(onward, path, trail):
                yield through(said, leg)


def through(said: SplitterLeg, leg: Leg) -> Leg:
    """`leg`, for calls that come to it by way of `said`."""
    request, response = said.request_headers.changes(), said.response_headers.changes()
    return Leg(
        leg.target,
        said.weight * leg.weight / WHOLE,
        request.then(leg.request),
        leg.response.then(response),
    )


def merged(legs: Iterable[Leg], path: str) -> tuple[Leg, ...]:
    """One leg a target.  Raises ConfigError unless legs to the same target are alike."""
    found: dict[Target, Leg] = {}
    for leg in legs:
        same = found.get(leg.target, replace(leg, weight=0.0))
        if (same.request, same.response) != (leg.request, leg.response):
            raise ConfigError(path, str(leg.target), "the same header changes for the same target")
        found[leg.target] = replace(leg, weight=min(same.weight + leg.weight, WHOLE))
    return tuple(found.values())


def _further(trail: Trail, service: str, path: str) -> Trail:
    way = " -> ".join((*trail, service))
    if service in trail:
        raise ConfigError(path, service, f"a way that ends, which {way} does not")
    if len(trail) >= DEEPEST:
        raise ConfigError(path, service, f"at most {DEEPEST} services on the way, not {way}")
    return (*trail, service)
