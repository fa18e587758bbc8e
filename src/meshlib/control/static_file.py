"""
The file of a static control plane, in TOML or JSON.

    [services]
    backend = ["127.0.0.1:8001", { address = "[::1]:8002", id = "b2", weight = 3, zone = "a" }]

    [[documents]]
    kind = "service-defaults"
    name = "backend"
    body = { Protocol = "http" }
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import field

from meshlib.config import Config, parse
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.model import Bound, Endpoint, Locality, Neg, Resolution, Snapshot
from meshlib.trust.spiffe import check_name


class StaticEndpoint(Config, frozen=True):
    """One endpoint as a file says it."""

    address: str
    id: str = ""
    """The address, if not given."""
    weight: int = 1
    region: str = ""
    zone: str = ""
    meta: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check("weight", expected="an integer 0..65535", ok=0 <= self.weight <= 65535)
        self.endpoint()

    def endpoint(self) -> Endpoint:
        """As the mesh knows it.  Raises ConfigError for a bad address."""
        host, port = _host_port(self.address)
        locality = Locality(self.region, self.zone)
        return Endpoint(self.id or self.address, host, port, self.weight, locality, self.meta)


class StaticDocument(Config, frozen=True):
    """One document as a file says it."""

    kind: str
    name: str
    body: dict[str, Any] = field(default_factory=dict)


class StaticFile(Config, frozen=True):
    """A whole file."""

    services: dict[str, list[Any]] = field(default_factory=dict)
    documents: list[StaticDocument] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Content:
    """All that a static control plane knows."""

    services: Mapping[str, tuple[Endpoint, ...]]
    documents: tuple[Document, ...] = ()

    def resolve(self, service: str) -> Resolution:
        """Where to send calls to `service`."""
        if service not in self.services:
            return Neg(tuple(sorted(self.services)))
        return Bound(Snapshot(service, self.services[service]))

    def named(self, name: str) -> tuple[Document, ...]:
        """The documents of that name, sorted by kind."""
        return tuple(document for document in self.documents if document.name == name)


def load(file: Path) -> Content:
    """Read a file.  Raises ConfigError naming it, and the field that cannot be used."""
    found = parse(StaticFile, _data(file), path=str(file))
    documents = sorted(
        (Document(each.kind, each.name, each.body, 1) for each in found.documents),
        key=lambda document: document.kind,
    )
    return Content(listed(found.services, f"{file}: services"), tuple(documents))


def listed(services: Mapping[str, Sequence[Any]], path: str) -> dict[str, tuple[Endpoint, ...]]:
    """The endpoints of each service, sorted by id.  Raises ConfigError below `path`."""
    for service in services:
        check_name(path, service)
    return {service: _of_one(given, f"{path}.{service}") for service, given in services.items()}


def _of_one(given: Sequence[Any], path: str) -> tuple[Endpoint, ...]:
    parsed = (
        parse(
            StaticEndpoint,
            {"address": each} if isinstance(each, str) else each,
            path=f"{path}[{number}]",
        )
        for number, each in enumerate(given)
    )
    endpoints = sorted((each.endpoint() for each in parsed), key=lambda endpoint: endpoint.id)
    ids = [endpoint.id for endpoint in endpoints]
    if len(ids) != len(set(ids)):
        raise ConfigError(path, ids, "ids that differ")
    return tuple(endpoints)


def _host_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not (host and port) or parts.netloc != address or "@" in address:
        raise ConfigError("address", address, "host:port, like 127.0.0.1:8001 or [::1]:8001")
    return host, port


def _data(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as exc:
        raise ConfigError(str(file), str(exc), "a readable TOML or JSON file") from exc
    if not isinstance(found, dict):
        raise ConfigError(str(file), found, "an object with services and documents")
    return found
