"""
SPIFFE ids, read strictly: a `SpiffeId` that exists is a valid one.

The rules are those of the SPIFFE-ID standard, section 2, as go-spiffe 2 applies them: lower case
trust domain, no percent encoding, no empty or dot segments, no query, no fragment, no port.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshlib.errors import ConfigError

SCHEME = "spiffe://"
MAX_BYTES = 2048
"""SPIFFE-ID, section 2.3: longer URIs must not be generated or accepted."""
MAX_TRUST_DOMAIN = 255
"""SPIFFE-ID, section 2.3."""
MAX_HOST_NAME = 254
"""Less than this: 253 bytes, a length and a final dot make the 255 of RFC 1035."""
MAX_NAME = 63
"""One DNS label (RFC 1035): a service name also stands in `http://<service>/`."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_SERVICE_PATH = re.compile(
    r"(?:/ap/(?P<partition>[^/]+))?/ns/(?P<namespace>[^/]+)/dc/(?P<datacenter>[^/]+)"
    r"/svc/(?P<service>[^/]+)"
)


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """Who a workload is: a trust domain and a path, which is empty or starts with a slash.

    Raises ConfigError for anything the standard does not allow.
    """

    trust_domain: str
    path: str = ""

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise _bad(str(self), "a trust domain of a-z, 0-9, '.', '-' and '_'")
        if len(self.trust_domain) > MAX_TRUST_DOMAIN:
            raise _bad(str(self), f"a trust domain of at most {MAX_TRUST_DOMAIN} bytes")
        if self.path:
            _check_path(self)
        if len(str(self)) > MAX_BYTES:
            raise _bad(str(self), f"at most {MAX_BYTES} bytes")

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"


def parse(text: str) -> SpiffeId:
    """Read a SPIFFE id.  Raises ConfigError with what would have been right."""
    if not text.startswith(SCHEME):
        raise _bad(text, f"something that starts with {SCHEME!r}, in lower case")
    trust_domain, slash, path = text.removeprefix(SCHEME).partition("/")
    return SpiffeId(trust_domain, slash + path)


def service_id(trust_domain: str, service: str, *, dc: str = "local") -> SpiffeId:
    """The id of a service, in the form Consul gives it.

    Raises ConfigError for a service or datacenter name that is not a DNS label, or a bad domain.
    """
    check_name("service", service)
    check_name("dc", dc)
    return SpiffeId(trust_domain, f"/ns/default/dc/{dc}/svc/{service}")


def service_of(spiffe_id: SpiffeId) -> str:
    """The service that `service_id` or Consul made this id for; empty for any other form.

    It says nothing about trust domain, partition and namespace: whoever decides by the name must
    have checked these, see `surroundings`.
    """
    match = _SERVICE_PATH.fullmatch(spiffe_id.path)
    return match["service"] if match else ""


def surroundings(spiffe_id: str) -> str:
    """What the ids of all services next to this one begin with: all but datacentre and name.

    Of an id in another form it is the trust domain.
    """
    domain, slash, path = spiffe_id.removeprefix(SCHEME).partition("/")
    match = _SERVICE_PATH.fullmatch(slash + path)
    before = path[: match.start("datacenter") - 1] if match else ""
    return f"{SCHEME}{domain}/{before}"


def neighbour(spiffe_id: SpiffeId, service: str, datacenter: str = "") -> SpiffeId:
    """The id of another service of the same trust domain, partition and namespace.

    Without a datacentre it is that of `spiffe_id`.  Raises ConfigError if `spiffe_id` is none of a
    service, or for names that cannot be part of an id.
    """
    match = _SERVICE_PATH.fullmatch(spiffe_id.path)
    if match is None:
        raise _bad(str(spiffe_id), "the id of a service: /ns/<ns>/dc/<datacentre>/svc/<name>")
    datacenter = datacenter or match["datacenter"]
    for field, name in ("service", service), ("datacenter", datacenter):
        if not _SEGMENT.fullmatch(name):
            raise ConfigError(field, name, "letters, digits, '.', '-' and '_'")
    before = spiffe_id.path[: match.start("datacenter")]
    return SpiffeId(spiffe_id.trust_domain, f"{before}{datacenter}/svc/{service}")


def server_name(spiffe_id: SpiffeId, subset: str = "") -> str:
    """What a client of Consul's asks for when it greets this service (SNI), or a subset of it.

    Consul, agent/connect/sni.go.  Empty for an id that is none of a service, and for a name that is
    no host name: one with an empty or overlong label cannot be asked for (RFC 6066, section 3).
    """
    match = _SERVICE_PATH.fullmatch(spiffe_id.path)
    if match is None:
        return ""
    place = [match["service"], match["namespace"], match["datacenter"], "internal"]
    if match["partition"]:
        place[2:] = [match["partition"], match["datacenter"], "internal-v1"]
    name = ".".join(filter(None, (subset, *place, spiffe_id.trust_domain)))
    return name if _is_host_name(name) else ""


def _is_host_name(name: str) -> bool:
    """Whether the lengths are those of RFC 1035, 2.3.4; Consul's names may be stranger."""
    return len(name) < MAX_HOST_NAME and all(0 < len(it) <= MAX_NAME for it in name.split("."))


def check_name(path: str, name: str) -> None:
    """Raise ConfigError, naming `path`, unless `name` is one lower-case DNS label."""
    if not (_NAME.fullmatch(name) and len(name) <= MAX_NAME):
        expected = f"1 to {MAX_NAME} of a-z, 0-9 and '-', not starting or ending with '-'"
        raise ConfigError(path, name, expected)


def _check_path(spiffe_id: SpiffeId) -> None:
    text = str(spiffe_id)
    first, *segments = spiffe_id.path.split("/")
    if first:
        raise _bad(text, "a path that starts with '/'")
    if "" in segments:
        raise _bad(text, "a path without empty segments or a trailing slash")
    if "." in segments or ".." in segments:
        raise _bad(text, "a path without '.' or '..' segments")
    if not all(map(_SEGMENT.fullmatch, segments)):
        raise _bad(text, "path segments of letters, digits, '.', '-' and '_'")


def _bad(text: str, expected: str) -> ConfigError:
    return ConfigError("spiffe id", text, expected, hint="like spiffe://example.org/billing")
