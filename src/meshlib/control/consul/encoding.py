"""How a request is written, and an answer read (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from meshlib.control.consul.faults import Asked, ServerTrouble


def target(asked: Asked) -> str:
    """The path with its query, as it is sent."""
    valued = {name: value for name, value in asked.params.items() if isinstance(value, str)}
    flags = [name for name, value in asked.params.items() if not isinstance(value, str)]
    query = "&".join([*flags, urlencode(valued)] if valued else flags)
    path = quote(asked.path, safe="/%:@")
    return f"{path}?{query}" if query else path


def encoded(body: Any) -> bytes | None:
    """A body as it is sent."""
    if body is None or isinstance(body, bytes):
        return body
    return json.dumps(body).encode()


def index_in(headers: Mapping[str, str]) -> int:
    """X-Consul-Index, 0 if there is none."""
    text = headers.get("x-consul-index", "")
    return int(text) if text.isdigit() else 0


def decoded(asked: Asked, raw: bytes, headers: Mapping[str, str]) -> Any:
    """A body as `Answer` has it.  Raises ServerTrouble for JSON that is none."""
    if not raw.strip():
        return None
    if "json" not in headers.get("content-type", ""):
        return raw if "raw" in asked.params else raw.decode("utf-8", "replace")
    try:
        return json.loads(raw)
    except ValueError as exc:
        hint = "is this the HTTP API of a Consul agent?"
        what = f"{asked.agent} answers {asked} with what is no JSON"
        raise ServerTrouble(what, why=str(exc), hint=hint) from exc
