"""
`service-intentions` documents on any Consul.

From 1.9 on they are config entries.  Before, Consul holds single intentions, and a document is the
list of those about its destination: read together, written one by one, those that deny first and
those that go last.  Compare-and-set compares what was read with what stands there just before the
first write; Consul 1.8 has nothing better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from meshlib.control.consul.faults import ConsulFault, NotThere
from meshlib.control.consul.http import ConsulClient
from meshlib.control.consul.intentions import HOME, LIST
from meshlib.control.documents import decode
from meshlib.control.intentions import KIND, ServiceIntentions
from meshlib.control.registry import Document
from meshlib.errors import ConfigError

Item: TypeAlias = Mapping[str, Any]

CONFIG = "/v1/config"
UNKNOWN_KIND = "invalid config entry kind"
"""What an older Consul says of an entry it does not know, with status 500."""

_ADDED = frozenset({"CreateIndex", "ModifyIndex", "Hash", "Namespace", "Partition"})
_ADDED_TO_SOURCES = frozenset(
    {"LegacyID", "LegacyMeta", "LegacyCreateTime", "LegacyUpdateTime", "Precedence"}
)
"""What Consul writes beside what was said."""


class IntentionDocuments:
    """Reads, writes and removes them; which of the two ways it is, the first answer tells."""

    def __init__(self, client: ConsulClient) -> None:
        self._client = client
        self._singly: bool | None = None

    def get(self, name: str) -> Document | None:
        """The document about one destination.  Raises ConsulFault."""
        if self._before_entries(name):
            return _document(name, *self._standing(name))
        try:
            answer = self._client.get(f"{CONFIG}/{KIND}/{name}")
        except NotThere:
            return None
        return Document(KIND, name, _plain(answer.body), int(answer.body["ModifyIndex"]))

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Write one; with `cas` only if its version is still the stored one.

        Raises ConfigError for what cannot be used, or for permissions before Consul 1.9;
        ConsulFault.
        """
        entry = decode(document)
        if self._before_entries(document.name):
            wanted = _sources(document) if isinstance(entry, ServiceIntentions) else []
            return self._put_singly(document, wanted, cas=cas)
        body = {**document.body, "Kind": KIND, "Name": document.name}
        version = str(document.version) if cas else False
        return self._client.put(CONFIG, body, cas=version).body is not False

    def delete(self, name: str) -> bool:
        """Remove one; returns whether there was one.  Raises ConsulFault."""
        if not self._before_entries(name):
            there = self.get(name) is not None
            self._client.delete(f"{CONFIG}/{KIND}/{name}")
            return there
        standing, _ = self._standing(name)
        for each in standing:
            self._client.delete(f"{LIST}/{each['ID']}")
        return bool(standing)

    def _before_entries(self, name: str) -> bool:
        """Whether this Consul is older than 1.9."""
        if self._singly is None:
            try:
                self._client.get(f"{CONFIG}/{KIND}/{name}")
            except NotThere:
                self._singly = False
            except ConsulFault as fault:
                if UNKNOWN_KIND not in str(fault):
                    raise
                self._singly = True
            else:
                self._singly = False
        return self._singly

    def _standing(self, name: str) -> tuple[list[Item], int]:
        """The intentions about a destination, and the index of all: any write moves it."""
        answer = self._client.get(LIST, filter=f'DestinationName == "{name}"')
        found = [each for each in answer.body or () if each.get("SourceNS") in HOME]
        return found, answer.index

    def _put_singly(self, document: Document, wanted: Sequence[Item], *, cas: bool) -> bool:
        standing, index = self._standing(document.name)
        if cas and document.version != (index if standing else 0):
            return False
        ids = {each["SourceName"]: each for each in standing}
        for source in sorted(wanted, key=_allows):
            self._write(ids.get(source["Name"]), source, document.name)
        kept = {source["Name"] for source in wanted}
        for each in standing:
            if each["SourceName"] not in kept:
                self._client.delete(f"{LIST}/{each['ID']}")
        return True

    def _write(self, standing: Item | None, source: Item, destination: str) -> None:
        body = {
            "SourceName": source["Name"],
            "DestinationName": destination,
            "SourceType": "consul",
            "Action": source["Action"],
            "Description": source.get("Description", ""),
        }
        if standing is None:
            self._client.post(LIST, body)
        elif any(standing.get(key) != value for key, value in body.items()):
            self._client.put(f"{LIST}/{standing['ID']}", body)


def _allows(source: Item) -> bool:
    return bool(source["Action"] == "allow")


def _sources(document: Document) -> list[Item]:
    """The sources of a document that says nothing but allow and deny."""
    sources: list[Item] = list(document.body.get("Sources", ()))
    for number, each in enumerate(sources):
        if each.get("Permissions"):
            path = f"{KIND}/{document.name}.Sources[{number}].Permissions"
            hint = "say Action, allow or deny; permissions need Consul 1.9"
            found = len(each["Permissions"])
            raise ConfigError(path, found, "none, as this Consul has no permissions", hint=hint)
    return sources


def _document(name: str, standing: Sequence[Item], index: int) -> Document | None:
    if not standing:
        return None
    sources = [dict(_source(each)) for each in standing]
    return Document(KIND, name, {"Kind": KIND, "Name": name, "Sources": sources}, index)


def _source(item: Item) -> Iterator[tuple[str, str]]:
    yield "Name", item["SourceName"]
    yield "Action", item["Action"]
    if item.get("Description"):
        yield "Description", item["Description"]


def _plain(body: Item) -> dict[str, Any]:
    """A config entry without what Consul adds to it."""
    kept = {key: value for key, value in body.items() if key not in _ADDED and value is not None}
    sources = kept.get("Sources") or []
    kept["Sources"] = [
        {key: value for key, value in each.items() if key not in _ADDED_TO_SOURCES and value}
        for each in sources
    ]
    return kept
