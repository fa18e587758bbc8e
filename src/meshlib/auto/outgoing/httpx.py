"""httpx: the transports of its own (`meshlib.auto.outgoing.httpx_like`)."""

from __future__ import annotations

from typing import Any

from meshlib.auto.outgoing.httpx_like import HttpxWraps

SUPPORTED = ">=0.28,<0.29"

_wraps = HttpxWraps("httpx", SUPPORTED)


def wrap(module: Any) -> None:
    """Send requests for services through the mesh.  Raises ConfigError."""
    _wraps.wrap(module)


def unwrap() -> None:
    """Leave httpx as it was."""
    _wraps.unwrap()
