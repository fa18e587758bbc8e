"""
werkzeug: Flask's `app.run`, `flask run`, `run_simple` and `make_server`.

Reloader, debugger, threads and processes are the program's; of its settings only its own TLS has
the mesh's in its place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from meshlib.auto.incoming import hosted
from meshlib.auto.outgoing.wraps import Wraps

SUPPORTED = ">=2.3,<4"

_wraps = Wraps("werkzeug", SUPPORTED)


def wrap() -> None:
    """Serve in the mesh from now on: servers that have not started yet."""
    import werkzeug.serving

    if hosted.fits("werkzeug", SUPPORTED):
        _wraps.put(werkzeug.serving.BaseWSGIServer, "__init__", _init)
        _wraps.put(werkzeug.serving.BaseWSGIServer, "serve_forever", _serve)


def unwrap() -> None:
    """Leave werkzeug as it was; servers that have started go on as they did."""
    _wraps.remove()


def _init(wrapped: Any, _: object, args: Any, kwargs: Any) -> None:
    import inspect

    bound = inspect.signature(wrapped).bind(*args, **kwargs)
    if bound.arguments.get("ssl_context") is not None:
        hosted.dropped("werkzeug", ["its own TLS"])
        bound.arguments["ssl_context"] = None
    wrapped(*bound.args, **bound.kwargs)


def _serve(wrapped: Any, server: Any, args: Any, kwargs: Any) -> None:
    from meshlib.auto.incoming.devserver import serve_forever

    serve_forever(server, "app", partial(wrapped, *args, **kwargs))
