"""
From documents to the route table of one service, as one caller has it.

The order: routes of `traffic-policy`, sorted by precedence; routes of `service-router`, as they
stand; then everything that is left goes to the splitter.  A route whose destination is the service
itself, without a subset, is split as well (Consul's chain: router, splitter, resolver).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import TypeAlias

from meshlib.config import RetryConfig
from meshlib.control.http_match import HTTPMatch
from meshlib.control.route_policies import PolicyRoute
from meshlib.control.router import RouteDestination, RouterRoute, ServiceRouter
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.model import Locality, Target
from meshlib.route.answer import Direct, Redirect
from meshlib.route.match import HttpMatch, Segment, precedence
from meshlib.route.rewrite import PrefixRewrite, Rewrite
from meshlib.route.rules import NO_RULES, Answer, Rules
from meshlib.route.split import Split, whole
from meshlib.route.table import CATCH_ALL, Route, RouteTable

Own: TypeAlias = Callable[[Target, str], Target]
"""Checks a target of the service itself; the path is for the error."""

Elsewhere: TypeAlias = Callable[[Target, str], Split]
"""Where calls go on to from a target of another service; the path is for the error."""

NO_SEGMENTS: Mapping[str, Segment] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the table is for."""

    service: str = ""
    segments: Mapping[str, Segment] = field(default_factory=lambda: NO_SEGMENTS, hash=False)
    here: Locality = Locality()
    """Where it stands: for `balance.locality`."""


NOBODY = Caller()


@dataclass(frozen=True, slots=True)
class TableMaker:
    """What the routes of one service have in common."""

    service: str
    split: Split
    """Where calls go that no route leads elsewhere."""
    own: Own
    elsewhere: Elsewhere
    policy: TrafficPolicy
    retry: RetryConfig
    caller: Caller = NOBODY

    def table(
        self,
        router: ServiceRouter | None,
        compiled: Sequence[tuple[RouterRoute, Split]] = (),
    ) -> RouteTable:
        """The table; of routes that Consul has `compiled` it is known where they lead.

        Raises ConfigError with the path of what is wrong.
        """
        routes = [*self._of_policy(), *self._of_router(router or ServiceRouter())]
        routes += [
            self._router_route(number, said, split) for number, (said, split) in enumerate(compiled)
        ]
        if not routes or routes[-1].match is not None:
            routes.append(Route(CATCH_ALL, self.split, rules=self._rules(NO_RULES)))
        return RouteTable(tuple(routes))

    def _of_policy(self) -> list[Route]:
        found: list[tuple[HttpMatch, Route]] = []
        for number, said in enumerate(self.policy.routes):
            path = f"traffic-policy/{self.service}.Routes[{number}]"
            match = said.match.within(self.caller.service, self.caller.segments)
            split = self._split(said.destination, path)
            if match is None:
                continue
            rules = self._rules(self._policy_rules(said), said)
            found.append((match, Route(said.name or f"policy[{number}]", split, match, rules)))
        return [route for _, route in sorted(found, key=lambda pair: precedence(pair[0]))]

    def _of_router(self, router: ServiceRouter) -> list[Route]:
        path = f"service-router/{self.service}.Routes"
        return [
            self._router_route(number, said, self._split(said.destination, f"{path}[{number}]"))
            for number, said in enumerate(router.routes)
        ]

    def _router_route(self, number: int, said: RouterRoute, split: Split) -> Route:
        asked = said.match.http or HTTPMatch()
        match = asked.compiled()
        rules = self._rules(self._destination_rules(said.destination, asked))
        return Route(f"router[{number}]", split, None if match.everything else match, rules)

    def _split(self, destination: RouteDestination, path: str) -> Split:
        target = Target(destination.service or self.service, destination.service_subset)
        if target.service != self.service:
            return self.elsewhere(target, f"{path}.Destination.Service")
        if not target.subset:
            return self.split
        return whole(self.own(target, f"{path}.Destination.ServiceSubset"))

    def _destination_rules(self, said: RouteDestination, match: HTTPMatch) -> Rules:
        rewrite: Rewrite | None = None
        if said.prefix_rewrite:
            rewrite = PrefixRewrite(match.matched() or 0, said.prefix_rewrite)
        return Rules(
            timeout=float(said.request_timeout) or None,
            silence=float(said.idle_timeout) or inf,
            retry=said.retry(self.retry),
            rewrite=rewrite,
            request=said.request_headers.changes(),
            response=said.response_headers.changes(),
        )

    def _policy_rules(self, said: PolicyRoute) -> Rules:
        plain = self._destination_rules(said.destination, said.match)
        return Rules(
            timeout=plain.timeout,
            silence=plain.silence,
            retry=plain.retry,
            rewrite=said.regex_rewrite.rewrite() if said.regex_rewrite else plain.rewrite,
            host=said.host_rewrite,
            request=plain.request,
            response=plain.response,
            answer=_answer(said),
        )

    def _rules(self, rules: Rules, said: PolicyRoute | None = None) -> Rules | None:
        """With what the service says for all its routes; None: nothing at all."""
        policy = self.policy
        mirrors = policy.mirror if said is None or said.mirror is None else said.mirror
        fault = (said.fault if said else None) or policy.fault
        fallback = (said.fallback if said else None) or policy.fallback
        complete = rules.completed(
            tuple(mirror.mirror() for mirror in mirrors),
            fault.fault() if fault else None,
            fallback.answer() if fallback else None,
        )
        return None if complete == NO_RULES else complete


def _answer(said: PolicyRoute) -> Answer | None:
    if said.redirect is not None:
        return Redirect(said.redirect.redirect(), said.match.matched() or 0)
    return Direct(said.answer.answer()) if said.answer is not None else None
