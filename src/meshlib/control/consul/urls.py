"""What a `consul://` URL and Consul's environment variables say (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from meshlib.errors import ConfigError

PORTS = {"http": 8500, "https": 8501}
"""Consul's own defaults."""

SCHEMES = {"consul": "http", "consul+http": "http", "consul+https": "https", "consul+unix": "unix"}

ENVIRON = {
    "CONSUL_HTTP_TOKEN": "token",
    "CONSUL_HTTP_TOKEN_FILE": "token_file",
    "CONSUL_CACERT": "ca_file",
    "CONSUL_CAPATH": "ca_path",
    "CONSUL_CLIENT_CERT": "cert_file",
    "CONSUL_CLIENT_KEY": "key_file",
    "CONSUL_TLS_SERVER_NAME": "server_name",
    "CONSUL_NAMESPACE": "namespace",
    "CONSUL_PARTITION": "partition",
}

IN_QUERY = {
    "token_file": "token_file",
    "ca_file": "ca_file",
    "ca_path": "ca_path",
    "cert_file": "cert_file",
    "key_file": "key_file",
    "server_name": "server_name",
    "dc": "datacenter",
    "ns": "namespace",
    "partition": "partition",
}

EXPECTED = "consul://host:port, consul+https://host:port or consul+unix:///path"

SECRET = {"token", "password", "http_token", "secret"}


def from_url(control: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields a URL names; one without a host takes host and port from CONSUL_HTTP_ADDR."""
    try:
        url = urlsplit(control)
    except ValueError as exc:
        raise ConfigError("control", control.partition("?")[0], EXPECTED) from exc
    if url.scheme not in SCHEMES:
        raise ConfigError("control", _shown(control), EXPECTED)
    if "@" in url.netloc:
        hint = "a token belongs in a token_file, in CONSUL_HTTP_TOKEN or in token="
        raise ConfigError("control", _shown(control), "an address without a user", hint=hint)
    scheme = SCHEMES[url.scheme]
    if scheme == "unix":
        return {"scheme": scheme, "path": unquote(url.path), **_from_query(control)}
    where = place(control, scheme) if url.netloc else _from_http_addr(environ, scheme)
    return {**where, **_from_query(control)}


def _from_query(control: str) -> dict[str, str]:
    found = {}
    for key, value in parse_qsl(urlsplit(control).query, keep_blank_values=True):
        if key in SECRET:
            hint = "URLs end up in logs: use token_file=, CONSUL_HTTP_TOKEN, or token= in code"
            raise ConfigError(f"control?{key}", "...", "no secret in a URL", hint=hint)
        if key not in IN_QUERY:
            raise ConfigError(f"control?{key}", value, f"one of {', '.join(sorted(IN_QUERY))}")
        found[IN_QUERY[key]] = value
    return found


def place(control: str, scheme: str) -> dict[str, Any]:
    """Scheme, host and port of a URL.  Raises ConfigError for a port that is none."""
    url = urlsplit(control)
    try:
        port = url.port
    except ValueError as exc:
        raise ConfigError("control", _shown(control), "a port from 1 to 65535") from exc
    if port == 0:
        raise ConfigError("control", _shown(control), "a port from 1 to 65535")
    return {"scheme": scheme, "host": url.hostname or "127.0.0.1", "port": port or PORTS[scheme]}


def _from_http_addr(environ: Mapping[str, str], scheme: str) -> dict[str, Any]:
    """`host:port`, `http(s)://host:port` or `unix:///path`, as Consul's own command reads it."""
    text = environ.get("CONSUL_HTTP_ADDR", "")
    if text.startswith("unix://"):
        return {"scheme": "unix", "path": text.removeprefix("unix://")}
    if _truth(environ, "CONSUL_HTTP_SSL", default=False) or text.startswith("https://"):
        scheme = "https"
    if not text:
        return {"scheme": scheme, "port": PORTS[scheme]}
    return place(text if "://" in text else f"//{text}", scheme)


def from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are set besides CONSUL_HTTP_ADDR.  Raises ConfigError."""
    found: dict[str, Any] = {
        name: environ[variable] for variable, name in ENVIRON.items() if environ.get(variable)
    }
    found["verify"] = _truth(environ, "CONSUL_HTTP_SSL_VERIFY", default=True)
    return found


def _truth(environ: Mapping[str, str], variable: str, *, default: bool) -> bool:
    text = environ.get(variable, "")
    if text.lower() in {"", "1", "t", "true", "0", "f", "false"}:
        return text.lower() in {"1", "t", "true"} if text else default
    raise ConfigError(variable, text, "true or false")


def _shown(control: str) -> str:
    """A URL without what may be a secret."""
    url = urlsplit(control)
    return url._replace(query="", netloc=url.netloc.rpartition("@")[2]).geturl()
