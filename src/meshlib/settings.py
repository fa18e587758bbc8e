"""
Where a mesh's settings come from: code beats environment beats file.

The file is `meshlib.toml` in the working directory, or what `MESHLIB_CONFIG` names; each setting
can also be given as `MESHLIB_<NAME>`.  Unknown names are errors, with their path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from meshlib.config import Config, ServingConfig, UpstreamConfig, parse
from meshlib.errors import ConfigError

_CONSUL = ("consul://", "consul+https://", "consul+unix://")
_IDENTITY = re.compile(r"files:.+|spiffe:((unix|tcp):.+)?")
_NESTED = ("upstreams", "serving")
"""Settings that need a file, or code."""
_NOT_SETTINGS = ("MESHLIB_CONFIG", "MESHLIB_CONSUL", "MESHLIB_DEMO_", "MESHLIB_LAUNCH")
"""Variables of that prefix that mean something to others."""


class Settings(Config, frozen=True):
    """What a process is in the mesh, and where its control plane is."""

    service: str
    """The name others call it by."""
    version: str = ""
    instance: str = ""
    """Unique in the mesh; made from service, host and process if not given."""
    control: str = "local"
    """`local`: the embedded control plane of this machine; or `consul://HOST:PORT`, the address of
    a Consul agent (`meshlib.control.consul.address` has all forms)."""
    home: str = ""
    """State folder of the embedded control plane, and of what is remembered of Consul; empty:
    `$XDG_STATE_HOME/meshlib`."""
    identity: str = ""
    """`files:/FOLDER`: the certificate, key and roots are files that somebody else renews;
    `spiffe:ADDRESS`: they come from a SPIFFE Workload API, `unix:///PATH` or `tcp://IP:PORT`, and
    without an address from that of SPIFFE_ENDPOINT_SOCKET; empty: from the control plane."""
    trust_domain: str = "meshlib.local"
    """Of the embedded control plane; Consul has its own."""
    host: str = "127.0.0.1"
    """Address the service listens on and is registered with."""
    port: int = 0
    """0 lets the system choose."""
    edge: str = ""
    """HOST:PORT of a second listener of an HTTP server, for those who have no mesh identity
    (browsers, load balancers); empty: there is none."""
    weight: int = 1
    region: str = ""
    zone: str = ""
    upstream_addresses: str = ""
    """`HOST:PORT=SERVICE,...`: what a program that knows nothing of the mesh calls, and which
    service that is; nothing after `=` means none (`meshlib.auto.names`)."""
    egress: Literal["allow", "deny"] = "allow"
    """Whether such a program may call what is no service of the mesh."""
    follow: Literal["on", "off"] = "on"
    """Whether threads and executors started by a request go on with its deadline, trace and all
    that is known of it (`meshlib.follow`)."""
    upstreams: dict[str, UpstreamConfig] = msgspec.field(default_factory=dict)
    """Settings of calls to other services, by service."""
    default_intentions: Literal["", "allow", "deny"] = ""
    """For callers that no intention names; empty: as the control plane has it, and the embedded one
    lets them in."""
    serving: ServingConfig | None = None
    """How much is let in; None: what documents say."""

    def __post_init__(self) -> None:
        self._check("service", expected="the name of this service", ok=bool(self.service))
        self._check("port", expected="a port 0..65535", ok=0 <= self.port <= 65535)
        self._check("weight", expected="a weight 0..65535", ok=0 <= self.weight <= 65535)
        expected = "nothing, files:/FOLDER, spiffe: or spiffe:unix:///SOCKET"
        fine = not self.identity or _IDENTITY.fullmatch(self.identity) is not None
        self._check("identity", expected=expected, ok=fine)
        if self.serving is not None and self.serving.mtls != "strict":
            expected = '"strict"; only a traffic-policy document may say otherwise'
            raise ConfigError("serving.mtls", self.serving.mtls, expected)
        known = self.control == "local" or self.control.startswith(_CONSUL)
        if known and self.control != "local":
            _refuse_secrets(self.control)
        self._check("control", expected="'local', or the URL of Consul (consul://...)", ok=known)


def _refuse_secrets(control: str) -> None:
    """These settings are shown to everybody who asks for them: no token may be among them."""
    from meshlib.control.consul.urls import from_url  # noqa: PLC0415 - for those who have Consul

    from_url(control, {})


def load(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Merge what code gives (None means "not given") with environment and file.

    Raises ConfigError naming the setting, its value and where it was given.
    """
    environ = os.environ if environ is None else environ
    merged = {**_file(environ), **_environment(environ)}
    named = {**merged.get("upstreams", {}), **(given.get("upstreams") or {})}
    merged |= {name: value for name, value in given.items() if value is not None}
    # plain data, as a constructor looks at the values it is given but not at their types
    merged["upstreams"] = msgspec.to_builtins(named)
    if "service" not in merged:
        raise ConfigError("service", None, "the name of this service", hint='write Mesh("name")')
    return parse(Settings, merged, path="mesh")


def _file(environ: Mapping[str, str]) -> dict[str, Any]:
    named = environ.get("MESHLIB_CONFIG")
    path = Path(named or "meshlib.toml")
    if not named and not path.is_file():
        return {}
    import tomllib  # noqa: PLC0415 - few processes have the file

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError("MESHLIB_CONFIG", str(path), f"a readable TOML file ({exc})") from exc


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith("MESHLIB_") or variable.startswith(_NOT_SETTINGS):
            continue
        name = variable.removeprefix("MESHLIB_").lower()
        if name not in Settings.__struct_fields__ or name in _NESTED:
            names = sorted(f"MESHLIB_{field.upper()}" for field in _scalars())
            raise ConfigError(variable, text, f"one of {', '.join(names)}")
        found[name] = _value(variable, text, name)
    return found


def _scalars() -> list[str]:
    return [field for field in Settings.__struct_fields__ if field not in _NESTED]


def _value(variable: str, text: str, name: str) -> str | int:
    if Settings.__annotations__[name] != "int":
        return text
    if not text.isdecimal():
        raise ConfigError(variable, text, "a whole number")
    return int(text)
