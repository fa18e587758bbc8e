"""
Waiting for leaves: a blocking query, and a look at the clock.

An agent answers a plain request with the leaf it has, though it be long expired (Consul 1.8, fixed
in 1.9.14), and renews only for those who wait at the leaf's own index; some later versions do not
answer these although they have renewed (fixed in 1.12.1, 1.13.3 and 1.15.2).  So both are asked
when the time of a leaf runs out, and what came is believed by its dates alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from meshlib.control.consul.http import WAIT, Answer, ConsulClient, Interrupt, Param
from meshlib.control.consul.leaf import check_alive, due, patience, read_leaf
from meshlib.runtime import Clock
from meshlib.trust.bundle import LeafCert

RENEWAL = 2.0
"""Seconds an agent is given to renew what has expired; it takes hundredths."""


def path_of(service: str) -> str:
    """Where the agent has the leaf of a service."""
    return f"/v1/agent/connect/ca/leaf/{quote(service, safe='')}"


class LeafWait:
    """Stands before the client of a `Follower`; `now` is Unix time.

    `tick` is called before every question, so that somebody notices when time runs out.
    """

    def __init__(
        self, client: ConsulClient, service: str, *, now: Clock, tick: Callable[[], None]
    ) -> None:
        self._client, self._service = client, service
        self._now, self._tick = now, tick
        self._last: LeafCert | None = None

    def wait(
        self,
        path: str,
        *,
        index: int,
        seconds: float = WAIT,
        interrupt: Interrupt | None = None,
        **params: Param,
    ) -> Answer:
        """As `ConsulClient.wait`.  Raises ConsulFault; LeafRefused, LeafExpired, ClockSkew."""
        self._tick()
        if index and self._last is not None:
            seconds = patience(self._last, self._now(), seconds)
        more: Any = {"interrupt": interrupt, **params}
        answer = self._client.wait(path, index=index, seconds=seconds, **more)
        leaf = read_leaf(answer.body, self._service)
        new = answer.index != index and not answer.from_cache
        if self._now() > due(leaf) and (not index or answer.index == index):
            before, index = answer.index, 0 if index else answer.index
            answer = self._client.wait(path, index=index, seconds=RENEWAL, **more)
            leaf = read_leaf(answer.body, self._service)
            new = new if answer.index == before else not answer.from_cache
        check_alive(leaf, self._now(), new=new)
        self._last = leaf
        return answer
