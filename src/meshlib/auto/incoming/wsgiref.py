"""
wsgiref: what `make_server` makes, and Django's `runserver`, which is made of the same server.

Django's reloader, its checks and its threads are as they were.
"""

from __future__ import annotations

import socketserver
import sys
from functools import partial
from typing import Any

from meshlib.auto.outgoing.wraps import Wraps

SUPPORTED = ">=3.11"
"""Of Python, whose own it is."""

_wraps = Wraps("wsgiref", SUPPORTED)


def wrap() -> None:
    """Serve in the mesh from now on: servers that have not started yet."""
    _wraps.put(socketserver.BaseServer, "serve_forever", _serve)


def unwrap() -> None:
    """Leave wsgiref as it was; servers that have started go on as they did."""
    _wraps.remove()


def _serve(wrapped: Any, server: Any, args: Any, kwargs: Any) -> None:
    kind = sys.modules["wsgiref.simple_server"].WSGIServer
    forever = partial(wrapped, *args, **kwargs)
    if isinstance(server, kind):
        from meshlib.auto.incoming.devserver import serve_forever

        serve_forever(server, "application", forever)
    else:
        forever()
