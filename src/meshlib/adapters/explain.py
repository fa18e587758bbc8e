"""A call that is only to be explained."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from multidict import CIMultiDict

from meshlib.errors import ConfigError
from meshlib.model import Call


def call_of(method: str, url: str, headers: Mapping[str, str]) -> Call:
    """The call a client would make of this request.  Raises ConfigError without a host."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ConfigError("url", url, "the URL of a service, such as http://backend/path")
    return Call(
        service=parts.hostname,
        method=method,
        path=parts.path or "/",
        query=parts.query,
        headers=CIMultiDict(headers),
    )
