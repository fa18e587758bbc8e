"""What one process has learned about one endpoint."""

from __future__ import annotations

from math import inf
from typing import TypeAlias

from meshlib.balance.latency import Latency
from meshlib.balance.tally import Tally
from meshlib.model import Endpoint
from meshlib.policy.breaker import Breaker

Key: TypeAlias = tuple[str, str, int]


def key_of(endpoint: Endpoint) -> Key:
    """What makes it the same endpoint, whatever its weight and meta have become."""
    return endpoint.id, endpoint.host, endpoint.port


class EndpointState:
    """Lives as long as the endpoint is known, across snapshots and pickers."""

    __slots__ = ("breaker", "endpoint", "key", "latency", "picks", "since", "tally")

    def __init__(
        self, endpoint: Endpoint, breaker: Breaker, since: float = -inf, key: Key | None = None
    ) -> None:
        self.endpoint = endpoint
        """As the latest snapshot has it."""
        self.key = key or key_of(endpoint)
        self.breaker = breaker
        self.picks: set[object] = set()
        """Those that have not reported yet.  Adding and removing one is atomic: it needs no lock,
        and of several reports of a pick only one finds it."""
        self.since = since
        """When it joined those already known, on the clock; -inf if it was among the first."""
        self.latency: Latency | None = None
        """How slow it is: for the balancer that asks, which puts it here."""
        self.tally: Tally | None = None
        """What is pending everywhere: for the balancer that asks, which puts it here."""

    @property
    def weight(self) -> int:
        """Its share of the traffic, relative to the others'; at least 1."""
        return self.endpoint.weight or 1

    @property
    def pending(self) -> int:
        """How many requests it has been given and has not answered."""
        return len(self.picks)

    def __repr__(self) -> str:
        return f"<{self.endpoint} {self.breaker.state.value}, {self.pending} pending>"
