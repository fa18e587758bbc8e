"""
Chains as the follower of documents wants them: with the service's own resolver beside them.

A chain has only those subsets that some route or split leads to; a `traffic-policy` may name the
others.  Whatever changes the resolver changes the chain, so that one blocking query serves both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from meshlib.control.consul.chain import KIND, REFUSED, cleaned, read_chain
from meshlib.control.consul.entries import ADDED, CONFIG, PLACES
from meshlib.control.consul.faults import NotThere
from meshlib.control.consul.http import TIMEOUT, WAIT, Answer, ConsulClient, Interrupt, Param
from meshlib.control.documents import path_of
from meshlib.control.registry import Document
from meshlib.control.resolver import ServiceResolver
from meshlib.control.tolerance import tolerated
from meshlib.errors import ConfigError

CHAIN = "/v1/discovery-chain"
RESOLVER = "service-resolver"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What Consul has of one service."""

    service: str
    chain: Any
    resolver: Any = None


class Chains:
    """A client whose answers to questions about a chain are `Compiled`."""

    def __init__(self, client: ConsulClient) -> None:
        self._client = client

    def wait(
        self,
        path: str,
        *,
        index: int,
        seconds: float = WAIT,
        interrupt: Interrupt | None = None,
        **params: Param,
    ) -> Answer:
        """One blocking query."""
        answer = self._client.wait(
            path, index=index, seconds=seconds, interrupt=interrupt, **params
        )
        return answer if index and answer.index == index else self._complete(path, answer, params)

    def _complete(self, path: str, answer: Answer, params: dict[str, Param]) -> Answer:
        chain, name = (answer.body or {}).get("Chain"), path.removeprefix(f"{CHAIN}/")
        resolver = None if _is_default(chain) else self._resolver(name, params)
        compiled = Compiled(str((chain or {}).get("ServiceName", "")), chain, resolver)
        return Answer(answer.status, compiled, answer.index, answer.headers)

    def _resolver(self, name: str, params: dict[str, Param]) -> Any:
        try:
            path = f"{CONFIG}/{RESOLVER}/{name}"
            return self._client.get(path, timeout=TIMEOUT, **params).body
        except NotThere:
            return None


def chain_path(service: str) -> str:
    """Where the chain of a service is."""
    return f"{CHAIN}/{quote(service, safe='')}"


def documents_of(compiled: Compiled) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """The documents, and what in them is not honoured, in the words of an event each."""
    service, resolver = compiled.service, compiled.resolver
    body, ignored = cleaned(compiled.chain)
    found, remarks = [Document(KIND, service, body)], list(_remarks(service, body, ignored))
    if resolver is not None:
        body, ignored = tolerated(ServiceResolver, resolver, silent=ADDED | PLACES)
        found.append(Document(RESOLVER, service, body))
        remarks += [f"{path_of(RESOLVER, service)}.{path} is ignored" for path in ignored]
    return tuple(found), tuple(remarks)


def refusal(service: str, why: str) -> Document:
    """In place of a chain that may not be read: every call is told why."""
    return Document(KIND, service, {REFUSED: why})


def _remarks(service: str, body: Mapping[str, Any], ignored: tuple[str, ...]) -> Iterator[str]:
    path = path_of(KIND, service)
    for each in ignored:
        yield f"{path}.{each} is ignored"
    try:
        skipped = read_chain(body, path=path).skipped
    except ConfigError:
        return  # whoever compiles it says so
    for each in skipped:
        yield f"{path}: failover to {each} is ignored, as it cannot be reached from here"


def _is_default(chain: Any) -> bool:
    """Whether nobody has written a resolver for the service."""
    nodes = (chain or {}).get("Nodes") or {}
    start = nodes.get((chain or {}).get("StartNode")) or {}
    return bool((start.get("Resolver") or {}).get("Default"))
