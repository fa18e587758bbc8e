"""Where the Workload API is: SPIFFE Workload Endpoint, section 4, as go-spiffe 2 reads it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from meshlib.errors import ConfigError

VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
"""The environment's word for it, which the standard asks every client to honour."""


@dataclass(frozen=True, slots=True)
class WorkloadAddress:
    """A path, or a host and a port."""

    path: str = ""
    host: str = ""
    port: int = 0

    def connect(self, seconds: float) -> socket.socket:
        """A connected socket, or OSError within `seconds`."""
        if not self.path:
            return socket.create_connection((self.host, self.port), seconds)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(seconds)
            made.connect(self.path)
        except BaseException:
            made.close()
            raise
        return made

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def parse_address(text: str, environ: Mapping[str, str]) -> WorkloadAddress:
    """Read `text`, or the environment's address if it is empty.  Raises ConfigError."""
    where = "workload api" if text else VARIABLE
    text = text or environ.get(VARIABLE, "")
    if not text:
        raise _bad(where, text)
    try:
        url = urlsplit(text)
        if url.query or url.fragment or url.username is not None:
            raise _bad(where, text)
        return _unix(url) if url.scheme == "unix" else _tcp(url)
    except ConfigError:
        raise
    except ValueError as exc:
        raise _bad(where, text) from exc


def _unix(url: SplitResult) -> WorkloadAddress:
    if url.netloc or not url.path.startswith("/") or "\0" in url.path:
        raise ValueError("not an absolute path")
    return WorkloadAddress(path=url.path)


def _tcp(url: SplitResult) -> WorkloadAddress:
    if url.scheme != "tcp" or url.path or not url.port:
        raise ValueError("not a host and port")
    # a name could lead anywhere, and nothing here proves who answers
    return WorkloadAddress(host=str(ip_address(url.hostname or "")), port=url.port)


def _bad(where: str, text: str) -> ConfigError:
    hint = f"give WorkloadIdentity its address, or set {VARIABLE}"
    return ConfigError(where, text, "unix:///<path> or tcp://<ip>:<port>", hint=hint)
