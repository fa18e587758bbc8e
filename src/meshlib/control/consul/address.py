"""
Where the Consul agent is, and as whom to speak to it.

    consul://127.0.0.1:8500
    consul+https://agent.example:8501?ca_file=ca.pem&cert_file=me.pem&key_file=me-key.pem
    consul+unix:///run/consul/http.sock?token_file=/run/secrets/consul

What is given in code wins over the URL, which wins over the environment: the variables of Consul's
own command line (https://developer.hashicorp.com/consul/commands#environment-variables).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from meshlib.control.consul.urls import from_environ, from_url, place
from meshlib.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ConsulAddress:
    """One agent's HTTP API.  Its token is in no repr and no message."""

    scheme: str = "http"
    """http, https or unix."""
    host: str = "127.0.0.1"
    port: int = 8500
    path: str = ""
    """Of the unix socket."""
    token: str = field(default="", repr=False)
    token_file: str = ""
    """Read for every request, so that a token may be rotated; used if there is no `token`."""
    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    """The name the agent's certificate is for, if it is not `host`."""
    verify: bool = True
    """False: believe anybody to be the agent."""
    datacenter: str = ""
    """Ask about this datacentre; the agent's own otherwise."""
    namespace: str = ""
    partition: str = ""

    @classmethod
    def parse(
        cls, control: str, environ: Mapping[str, str] = os.environ, **given: Any
    ) -> ConsulAddress:
        """The address that `control` (a URL, see above), `environ` and `given` add up to.

        `given` are fields of this class; None means "not given".  Raises ConfigError.
        """
        url = from_url(control, environ)
        chosen = {name: value for name, value in given.items() if value is not None}
        _only_fields(chosen)
        merged = {**from_environ(environ), **url, **chosen}
        if not {"token", "token_file"}.isdisjoint(explicit := {**url, **chosen}):
            merged = {**merged, **_token_of(explicit)}
        address = cls(**merged)
        address.check()
        return address

    def check(self) -> None:
        """Raise ConfigError for what cannot work, before anybody connects."""
        if self.scheme == "unix" and not self.path.startswith("/"):
            raise ConfigError("control", str(self), "the path of the agent's socket, from / on")
        if bool(self.cert_file) != bool(self.key_file):
            have, missing = ("cert_file", "key_file")[:: 1 if self.cert_file else -1]
            value = getattr(self, have)
            raise ConfigError(f"control.{have}", value, f"a {missing} to go with it")
        for name in ("ca_file", "ca_path", "cert_file", "key_file", "token_file"):
            value = getattr(self, name)
            if value and not Path(value).exists():
                raise ConfigError(f"control.{name}", value, "the path of something that exists")

    def current_token(self) -> str:
        """The token to send now, empty for none.  Raises ConfigError if its file is unreadable."""
        if self.token or not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            expected = "a readable file with the token"
            raise ConfigError("control.token_file", self.token_file, expected) from exc

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"consul+unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"consul{'+https' if self.scheme == 'https' else ''}://{host}:{self.port}"


def _token_of(explicit: Mapping[str, Any]) -> dict[str, Any]:
    """A token named closer by is not to be overruled by one from further away."""
    return {"token": explicit.get("token", ""), "token_file": explicit.get("token_file", "")}


def _only_fields(given: Mapping[str, Any]) -> None:
    known = {each.name for each in fields(ConsulAddress)}
    for name in sorted(given.keys() - known):
        raise ConfigError(f"control.{name}", "...", f"one of {', '.join(sorted(known))}")


def address_of(client: object) -> ConsulAddress:
    """The address that a `consul.Consul` of python-consul2 or py-consul speaks to.

    Read are its token, datacentre, and its HTTP client's base URI, `verify` and `cert`; nothing of
    those packages is imported or used.  Raises ConfigError for anything else.
    """
    http = getattr(client, "http", None)
    base = getattr(http, "base_uri", None)
    if not isinstance(base, str):
        expected = "a consul:// URL, or a client object of python-consul2 or py-consul"
        raise ConfigError("control", type(client).__name__, expected)
    settings: dict[str, Any] = {
        **_of_base_uri(base),
        **_of_verify(getattr(http, "verify", True)),
        **_of_cert(getattr(http, "cert", None)),
        "token": getattr(client, "token", None) or "",
        "datacenter": getattr(client, "dc", None) or "",
    }
    address = ConsulAddress(**settings)
    address.check()
    return address


def _of_base_uri(base: str) -> dict[str, Any]:
    if base.startswith("http+unix://"):
        return {"scheme": "unix", "path": unquote(base.removeprefix("http+unix://")).split(":")[0]}
    return place(base, urlsplit(base).scheme)


def _of_verify(verify: object) -> dict[str, Any]:
    """`requests` takes True, False, or a file or folder of certificates to trust."""
    if not isinstance(verify, str):
        return {"verify": bool(verify)}
    return {"ca_path" if Path(verify).is_dir() else "ca_file": verify}


def _of_cert(cert: Any) -> dict[str, str]:
    """`requests` takes one file with both, or a pair of certificate and key."""
    if cert is None:
        return {}
    both = (cert, cert) if isinstance(cert, str) else tuple(cert)
    return dict(zip(("cert_file", "key_file"), both, strict=True))
