"""
Documents in Consul: config entries, and `traffic-policy` in its key-value store.

Ours are written strictly and by compare-and-set; what others wrote is shown as it is, without what
Consul adds by itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from meshlib.control.consul.faults import (
    BadRequest,
    ConnectDisabled,
    ConsulFault,
    NoLeader,
    NotThere,
    ServerTrouble,
    UnknownDatacenter,
)
from meshlib.control.consul.http import Answer, ConsulClient
from meshlib.control.documents import NotHttp, decode, path_of
from meshlib.control.registry import Document
from meshlib.errors import ConfigError

CONFIG, KV = "/v1/config", "/v1/kv"
POLICY = "traffic-policy"
FOLDER = "meshlib/traffic-policy/"
"""Of the key-value store; the rest of a key is the name of the service."""

ADDED = frozenset({"CreateIndex", "ModifyIndex", "Hash"})
PLACES = frozenset({"Namespace", "Partition"})
"""Consul writes `default` there, if anything."""

_TROUBLE = ("EOF", "connection", "timed out", "timeout", "leader", "lease", "failed to get conn")
"""What Consul's errors say when it is not the entry that is wrong."""
_PROTOCOLS = ("does not permit advanced routing", "inconsistent protocols")
"""What they say of services that Consul takes for tcp, as it does when nobody says otherwise."""


def plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without what Consul adds: indexes, its default namespace, and what is empty."""
    return {
        key: value
        for key, value in body.items()
        if key not in ADDED
        and value is not None
        and value not in ({}, [], "")
        and not (key in PLACES and value == "default")
    }


def entry_of(kind: str, name: str, body: Mapping[str, Any]) -> Document:
    """The document that Consul returned."""
    return Document(kind, name, plain(body), int(body.get("ModifyIndex", 0)))


class ConfigEntries:
    """Consul's own kinds.  Raises ConfigError for what is refused, ConsulFault."""

    def __init__(self, client: ConsulClient) -> None:
        self._client = client

    def get(self, kind: str, name: str) -> Document | None:
        """One entry."""
        try:
            answer = self._client.get(f"{CONFIG}/{kind}/{name}")
        except NotThere:
            return None
        return entry_of(kind, name, answer.body)

    def put(self, document: Document, *, cas: bool) -> bool:
        """Write one; whether it was written."""
        body = {**document.body, "Kind": document.kind, "Name": document.name}
        version = str(document.version) if cas else False
        return _accepted(document, lambda: self._client.put(CONFIG, body, cas=version))

    def delete(self, kind: str, name: str) -> bool:
        """Remove one; whether there was one: Consul 1.8 does not say."""
        found = self.get(kind, name)
        if found is None:
            return False
        return _accepted(found, lambda: self._client.delete(f"{CONFIG}/{kind}/{name}"))


class PolicyEntries:
    """`traffic-policy`, which Consul knows nothing of.  Raises ConfigError, ConsulFault."""

    def __init__(self, client: ConsulClient) -> None:
        self._client = client

    def get(self, name: str) -> Document | None:
        """One policy."""
        try:
            answer = self._client.get(f"{KV}/{FOLDER}{name}")
        except NotThere:
            return None
        return policy_of(answer.body[0])

    def put(self, document: Document, *, cas: bool) -> bool:
        """Write one; whether it was written."""
        content = json.dumps(dict(document.body), indent=2, ensure_ascii=False).encode()
        version = str(document.version) if cas else False
        key = f"{KV}/{FOLDER}{document.name}"
        return self._client.put(key, content, cas=version).body is not False

    def delete(self, name: str) -> bool:
        """Remove one, whatever it says; whether there was one."""
        key = f"{KV}/{FOLDER}{name}"
        try:
            self._client.get(key)
        except NotThere:
            return False
        self._client.delete(key)
        return True


def policy_of(item: Mapping[str, Any]) -> Document:
    """The policy in one pair of the key-value store.  Raises ConfigError if it is no JSON."""
    key = str(item["Key"])
    name = key.removeprefix(FOLDER)
    try:
        body = json.loads(base64.b64decode(item.get("Value") or b""))
    except ValueError as exc:
        hint = f"written to the key {key} by hand?"
        raise ConfigError(path_of(POLICY, name), f"({exc})", "a JSON object", hint=hint) from None
    if not isinstance(body, dict):
        raise ConfigError(path_of(POLICY, name), body, "a JSON object")
    return Document(POLICY, name, body, int(item.get("ModifyIndex", 0)))


def check(document: Document) -> None:
    """Raise ConfigError for a document that cannot be honoured."""
    decode(document, consul=True)


def _accepted(document: Document, write: Callable[[], Answer]) -> bool:
    """Have it written; what Consul has against the document is a ConfigError."""
    try:
        return write().body is not False
    except (BadRequest, ServerTrouble) as fault:
        if not _is_refusal(fault):
            raise
        raise _refused(document, fault) from fault


def _is_refusal(fault: ConsulFault) -> bool:
    """Whether Consul has understood the question: it answers 500 for entries it does not like."""
    if isinstance(fault, BadRequest):
        return True
    lost = isinstance(fault, NoLeader | UnknownDatacenter | ConnectDisabled)
    return not lost and not any(words in fault.why for words in _TROUBLE)


def _refused(document: Document, fault: ConsulFault) -> ConfigError:
    path, expected = path_of(document.kind, document.name), f"what Consul accepts: {fault.why}"
    if any(words in fault.why for words in _PROTOCOLS):
        defaults = path_of("service-defaults", document.name)
        hint = f"write {defaults} with Protocol http first, and so for every service it leads to"
        return NotHttp(path, document.name, expected, hint=hint)
    hint = "a field may be younger than this Consul" if isinstance(fault, BadRequest) else ""
    return ConfigError(path, document.name, expected, hint=hint)
