"""
Which ACL right a request to the agent needs: Consul itself says only "Permission denied".

From the reference of each endpoint (https://developer.hashicorp.com/consul/api-docs), and checked
against a real agent with the policies of `service-identity` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

NODES = "node:read (every node), and service:read"
"""Without node:read `/v1/health` answers an empty list instead of a refusal."""


@dataclass(frozen=True, slots=True)
class _Request:
    verb: str
    """read or write"""
    rest: list[str]
    """The path behind its first part."""
    said: Mapping[str, Any]
    """Parameters, and the fields of the body."""

    def first(self, *names: str) -> Any:
        """The first of these that was said."""
        return next((self.said[name] for name in names if self.said.get(name)), None)

    def part(self, number: int) -> str | None:
        """A part of `rest`, None if it has not as many."""
        return self.rest[number] if len(self.rest) > number else None


def right_for(
    method: str, path: str, params: Mapping[str, Any] | None = None, body: object = None
) -> str:
    """Name the right, as a policy would: "service:write on 'web'"; empty if nobody knows."""
    area, *rest = map(unquote, path.removeprefix("/v1/").strip("/").split("/"))
    fields = body if isinstance(body, Mapping) else {}
    verb = "read" if method == "GET" else "write"
    name = _AREAS.get(area)
    return name(_Request(verb, rest, {**(params or {}), **fields})) if name else ""


def _agent(request: _Request) -> str:
    head, *more = request.rest
    if head == "connect":
        leaf = more[:2] == ["ca", "leaf"]
        return _on("service:write", more[-1] if leaf else request.first("Target"))
    if head in {"service", "check"}:
        name = request.first("Name") if more == ["register"] else None
        return _on("service:write", name, "the instance's service")
    if head in {"services", "checks", "health"}:
        return _on("service:read", None, "each service")
    return "node:read" if head == "members" else f"agent:{request.verb}"


def _connect(request: _Request) -> str:
    if request.part(0) == "ca":
        return f"operator:{request.verb}"
    name = request.first("name", "destination", "DestinationName")
    return _on(f"intentions:{request.verb}", name, "the destination")


def _config(request: _Request) -> str:
    kind = request.first("Kind") or request.part(0)
    name = request.first("Name") or request.part(1)
    if kind in {"proxy-defaults", "mesh"} and request.verb == "write":
        return "operator:write"
    if kind == "service-intentions":
        return _on(f"intentions:{request.verb}", name, "the destination")
    return _on(f"service:{request.verb}", name, "the entry's service")


def _health(request: _Request) -> str:
    if request.part(0) in {"service", "connect", "checks"} and request.part(1):
        return f"{_on('service:read', request.part(1))}, and node:read on the nodes it runs on"
    return NODES


def _on(right: str, name: object, otherwise: str = "") -> str:
    subject = repr(str(name)) if name else otherwise
    return f"{right} on {subject}" if subject else right


_AREAS: dict[str, Callable[[_Request], str]] = {
    "agent": _agent,
    "connect": _connect,
    "config": _config,
    "discovery-chain": lambda request: _on("service:read", request.part(0)),
    "health": _health,
    "catalog": _health,
    "kv": lambda request: _on(f"key:{request.verb}", "/".join(request.rest)),
    "session": lambda request: f"session:{request.verb}",
    "event": lambda request: f"event:{request.verb}",
    "operator": lambda request: f"operator:{request.verb}",
    "acl": lambda request: f"acl:{request.verb}",
}
