"""A program that has wrapped its WSGI application itself, and runs it with a server it knows."""

from __future__ import annotations

import logging
from typing import Any

from meshlib.serve.wsgi import MeshWSGI

log = logging.getLogger("meshlib.auto")

_DEPTH = 8
"""Middleware around it."""
_INNER = ("wsgi_app", "app", "application")
"""What applications and middleware call the next one: Flask, and all others."""


def wrapped_already(app: Any) -> MeshWSGI | None:
    """The mesh's wrapper that is somewhere within `app`."""
    for _ in range(_DEPTH):
        if isinstance(app, MeshWSGI):
            log.info("the program has wrapped its application itself")
            return app
        app = next((inner for each in _INNER if (inner := getattr(app, each, None))), None)
    return None
