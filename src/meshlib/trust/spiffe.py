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
MAX_NAME = 63
"""One DNS label (RFC 1035): a service name also stands in `http://<service>/`."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_SERVICE_PATH = re.compile(r"/ns/default/dc/[^/]+/svc/([^/]+)")


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

    It says nothing about the trust domain: whoever decides by the name must have checked that.
    """
    match = _SERVICE_PATH.fullmatch(spiffe_id.path)
    return match[1] if match else ""


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
