"""
What a program serves with, each server wrapped when the program imports it and not before.

Each module names the versions it knows in `SUPPORTED`, and has a `wrap()` and an `unwrap()`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from typing import Any

import wrapt

log = logging.getLogger("meshlib.auto")

SERVERS = {
    "django.utils.autoreload": "django_reloader",
    "grpc": "grpc",
    "gunicorn.app.base": "gunicorn",
    "hypercorn.asyncio": "hypercorn",
    "hypercorn.run": "hypercorn",
    "uvicorn.server": "uvicorn",
    "werkzeug._reloader": "werkzeug_reloader",
    "werkzeug.serving": "werkzeug",
    "wsgiref.simple_server": "wsgiref",
}
"""The module here that wraps a server, by the server's own."""

STRANGERS = (
    "aiohttp.web_runner",
    "bjoern",
    "cheroot.server",
    "daphne.server",
    "eventlet.wsgi",
    "gevent.pywsgi",
    "granian",
    "tornado.httpserver",
    "waitress.server",
)
"""Servers that cannot show who is at the other end, or are not known well enough."""

_wanted: set[str] = set()
_waited_for: set[str] = set()
"""What an import hook stands for: hooks cannot be taken away again."""
_wrapped: set[str] = set()
"""Modules here that have done their work."""


def wrap() -> None:
    """Wrap every server that is imported, and the others when they will be.

    A version that meshlib does not know, and a server it cannot wrap, is an error in the log.
    """
    _wanted.update(SERVERS)
    for server in (*SERVERS, *STRANGERS):
        if server not in _waited_for:
            _waited_for.add(server)
            wrapt.register_post_import_hook(_hook(server), server)  # now, if it is imported
        elif server in sys.modules:
            _wrap(server)


def unwrap() -> None:
    """Leave every server as it was; those that have started go on as they did."""
    _wanted.clear()
    while _wrapped:
        _ours(_wrapped.pop()).unwrap()


def _hook(server: str) -> Callable[[Any], None]:
    parent, _, name = server.rpartition(".")

    def imported(module: Any) -> None:
        if parent:  # what `import` does next, and `import a.b` relies upon
            setattr(sys.modules[parent], name, module)
        _wrap(server)

    return imported


def _wrap(server: str) -> None:
    if server in STRANGERS:
        if _wanted:
            log.error("%s cannot be wrapped: what it serves is not in the mesh", server)
    elif server in _wanted and SERVERS[server] not in _wrapped:
        _wrapped.add(SERVERS[server])
        _ours(SERVERS[server]).wrap()


def _ours(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
