"""
What can go wrong between a process and its agent, told apart.

    ConsulFault (RegistryUnavailable)   .status: the HTTP status, 0 when nothing was answered
      AgentUnreachable                  nobody answers: .timed_out
        TlsFailed                       TLS with the agent did not come about
      CutShort                          ended by this process: `close` or an interrupt
      BadRequest                        400, 405, 413: what was asked makes no sense to it
      NotAllowed                        403: which right is missing, or the token is not known
      NotThere                          404: .index, to wait for it to appear
      RateLimited                       429: too many requests, or connections
      ServerTrouble                     5xx
        NoLeader                        the servers have no leader at the moment
        UnknownDatacenter               no way to that datacentre
        ConnectDisabled                 the servers run without Consul Connect

No message contains a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlib.control.consul.rights import right_for
from meshlib.errors import RegistryUnavailable

LONGEST_WHY = 400
"""Characters of Consul's own words that are repeated."""


class ConsulFault(RegistryUnavailable):
    """The agent could not be asked, or would not do what was asked."""

    def __init__(self, what: str, *, status: int = 0, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.status = status


class AgentUnreachable(ConsulFault):
    """Nobody answers at the agent's address."""

    def __init__(
        self, what: str, *, why: str = "", hint: str = "", timed_out: bool = False
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.timed_out = timed_out


class TlsFailed(AgentUnreachable):
    """TLS with the agent did not come about."""


class CutShort(ConsulFault):
    """This process ended the request itself."""


class BadRequest(ConsulFault):
    """The agent can make no sense of the request."""


class NotAllowed(ConsulFault):
    """The token does not allow it, or is none the servers know."""


class NotThere(ConsulFault):
    """There is nothing by that name; `index` is what to wait from."""

    index: int = 0


class RateLimited(ConsulFault):
    """Too many requests, or too many connections."""


class ServerTrouble(ConsulFault):
    """The agent is there, but it or its servers could not answer."""


class NoLeader(ServerTrouble):
    """The servers are without a leader; cached and stale reads go on."""


class UnknownDatacenter(ServerTrouble):
    """No server of that datacentre is known, or none can be reached."""


class ConnectDisabled(ServerTrouble):
    """The servers run without Consul Connect: no identities, no intentions."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as faults describe it."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    agent: str = ""
    """The agent's address."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def fault_of(asked: Asked, status: int, text: str) -> ConsulFault:
    """The fault that an answer with a status from 400 on is."""
    words = " ".join(text.split())[:LONGEST_WHY]
    for phrase, make in _BY_WORDS:
        if phrase in words:
            return make(asked, status, words)
    return _BY_STATUS.get(status, _trouble if status >= 500 else _bad)(asked, status, words)


def _bad(asked: Asked, status: int, words: str) -> ConsulFault:
    return BadRequest(f"Consul refuses {asked}", status=status, why=words)


def _https_wanted(asked: Asked, status: int, words: str) -> ConsulFault:
    hint = "write consul+https:// instead of consul://"
    return BadRequest(f"{asked.agent} speaks only HTTPS", status=status, why=words, hint=hint)


def _unknown_token(asked: Asked, status: int, _: str) -> ConsulFault:
    return NotAllowed(
        f"Consul refuses {asked}",
        status=status,
        why="it does not know the token (ACL not found)",
        hint="was the token deleted, has it expired, or is it another cluster's?",
    )


def _denied(asked: Asked, status: int, words: str) -> ConsulFault:
    right = right_for(asked.method, asked.path, asked.params, asked.body)
    needs = f"the token lacks {right}" if right else f"the token lacks a right ({words})"
    hint = "a token with the service identity of this service has all that its mesh needs"
    return NotAllowed(f"Consul does not allow {asked}", status=status, why=needs, hint=hint)


def _not_there(asked: Asked, status: int, words: str) -> ConsulFault:
    return NotThere(f"{asked.path} is not there", status=status, why=words)


def _limited(asked: Asked, status: int, words: str) -> ConsulFault:
    return RateLimited(f"Consul is asked too much: {asked}", status=status, why=words)


def _trouble(asked: Asked, status: int, words: str) -> ConsulFault:
    return ServerTrouble(f"Consul cannot answer {asked}", status=status, why=words)


def _no_leader(asked: Asked, status: int, words: str) -> ConsulFault:
    hint = "an election takes seconds; without a majority of the servers there is none"
    return NoLeader(f"Consul has no leader for {asked}", status=status, why=words, hint=hint)


def _unknown_dc(asked: Asked, status: int, words: str) -> ConsulFault:
    datacenter = asked.params.get("dc") or "the datacentre"
    hint = "`consul catalog datacenters` lists those that are joined over the WAN"
    what = f"Consul knows no way to {datacenter!r}"
    return UnknownDatacenter(what, status=status, why=words, hint=hint)


def _no_connect(_: Asked, status: int, words: str) -> ConsulFault:
    hint = "set connect { enabled = true } on the servers"
    return ConnectDisabled("Consul runs without Connect", status=status, why=words, hint=hint)


_BY_WORDS = (
    ("ACL not found", _unknown_token),
    ("Permission denied", _denied),
    ("lacks permission", _denied),
    ("No path to datacenter", _unknown_dc),
    ("No cluster leader", _no_leader),
    ("Connect must be enabled", _no_connect),
    ("Rate limit reached", _limited),
    ("rate limit reached", _limited),
    ("HTTP request to an HTTPS server", _https_wanted),
)

_BY_STATUS = {403: _denied, 404: _not_there, 429: _limited}
