"""
Which service an address means, in a program that has never heard of services.

An address that was given for a service means that service, whoever else is called so; `HOST:PORT=`
says that nobody's mesh is meant.  A bare name means the service of that name at every port, for the
mesh chooses the port.  All else is foreign: names with dots and IP addresses are never looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshlib.errors import ConfigError, Denied, RegistryUnavailable
from meshlib.model import Bound, Neg, Resolution

VARIABLE = "MESHLIB_UPSTREAM_ADDRESSES"
FORM = "HOST:PORT=SERVICE, like 127.0.0.1:5001=backend"

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+):([0-9]{1,5})")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]*")
_BARE = re.compile(r"(?!\d+$)(?!0x[0-9a-f]*$)[a-z0-9_-]{1,63}")
"""What may be a service: one label, which no resolver takes for an address (inet_aton(3))."""
_HERE = frozenset({"localhost", "::1", "127.0.0.1"})
"""Three names of this machine (RFC 6761, 6.3): a program may write any of them."""
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443, "grpc": 443}

Addresses = Mapping[tuple[str, int], str]
"""Services by host and port; an empty name stands for "no service"."""


class Names:
    """What addresses mean; `egress` says whether those that mean no service may be called."""

    def __init__(self, addresses: Addresses, *, egress: str = "allow") -> None:
        self._addresses = {(_host(host), port): name for (host, port), name in addresses.items()}
        self._egress = egress

    @classmethod
    def parse(cls, text: str, *, egress: str = "allow") -> Names:
        """Read `HOST:PORT=SERVICE,...`.  Raises ConfigError."""
        return cls(parse(text), egress=egress)

    def candidate(self, scheme: str, host: str, port: int | None) -> str | None:
        """The name to look up before `service_of` can tell; None: it can tell now."""
        host = _host(host)
        if (host, _port(scheme, port)) in self._addresses or host in _HERE:
            return None
        return host if _BARE.fullmatch(host) else None

    def service_of(
        self, scheme: str, host: str, port: int | None, resolution: Resolution | None = None
    ) -> str | None:
        """The service that is meant; None: nobody's mesh is, and the call may be made as it is.

        `resolution` is that of the candidate.  Raises Denied for a foreign address if the egress is
        "deny", RegistryUnavailable if nobody can say whether there is such a service.
        """
        where = _host(host), _port(scheme, port)
        given = self._addresses.get(where)
        if given is not None:
            return given or None
        if self.candidate(scheme, host, port) and not isinstance(resolution, Neg):
            if isinstance(resolution, Bound):
                return _host(host)
            raise _unknown(where, resolution)
        if self._egress == "deny":
            raise _denied(where)
        return None


def parse(text: str, path: str = VARIABLE) -> dict[tuple[str, int], str]:
    """Read `HOST:PORT=SERVICE,...`; IPv6 addresses stand in brackets.

    `path` is where it was said.  Raises ConfigError.
    """
    addresses: dict[tuple[str, int], str] = {}
    for each in filter(None, map(str.strip, text.split(","))):
        where, service = _entry(each, path)
        if addresses.setdefault(where, service) != service:
            other = addresses[where] or "no service"
            raise ConfigError(path, each, f"one meaning an address, and it means {other} too")
    return addresses


def _entry(text: str, path: str) -> tuple[tuple[str, int], str]:
    address, equals, service = text.partition("=")
    match = _ADDRESS.fullmatch(address.strip())
    port = int(match[2]) if match else 0
    if match is None or not equals or not 0 < port < 65536:
        raise ConfigError(path, text, FORM)
    if not _SERVICE.fullmatch(service.strip()):
        raise ConfigError(path, text, "a service of letters, digits, '.', '_' and '-'")
    return (_host(match[1]), port), service.strip()


def _host(host: str) -> str:
    plain = host.strip("[]").lower()
    return "127.0.0.1" if plain in _HERE else plain


def _port(scheme: str, port: int | None) -> int:
    return port or _PORTS.get(scheme, 0)


def _written(where: tuple[str, int]) -> str:
    host, port = where
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _denied(where: tuple[str, int]) -> Denied:
    written = _written(where)
    return Denied(
        f"calls to {written} are refused",
        why="it is no service of the mesh, and MESHLIB_EGRESS is 'deny'",
        hint=f"{VARIABLE}='{written}=SERVICE' says which service it is, '{written}=' lets it pass",
    )


def _unknown(where: tuple[str, int], resolution: Resolution | None) -> RegistryUnavailable:
    written = _written(where)
    cause = getattr(resolution, "cause", "") or "the control plane has not answered"
    return RegistryUnavailable(
        f"nobody can say whether {where[0]} is a service of the mesh",
        why=cause,
        hint=f"{VARIABLE}='{written}=' says that it is none, '{written}={where[0]}' that it is one",
    )
