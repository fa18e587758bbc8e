"""Serving an application in the mesh: what stands around it, and the servers to run it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal

from meshlib.errors import ConfigError

if TYPE_CHECKING:
    from meshlib.serve.options import ServeOptions

__all__ = ["serve"]


def serve(app: Any, options: ServeOptions, *, kind: Literal["asgi", "wsgi"] | None = None) -> None:
    """Serve an ASGI application with uvicorn or hypercorn, a WSGI one with gunicorn, until drained.

    `kind` settles what the application does not tell.  Raises ConfigError, and what
    `serve.uvicorn.serve_asgi`, `serve.hypercorn.serve_asgi` and `serve.gunicorn.serve_wsgi` raise.
    """
    # each server is loaded only by those who run it
    from meshlib.serve.detect import kind_of  # noqa: PLC0415

    if kind_of(app, kind) == "asgi":
        _serve_asgi(app, options)
    elif options.server != "auto":
        raise ConfigError("server", options.server, '"auto" for a WSGI application')
    else:
        from meshlib.serve.gunicorn import serve_wsgi  # noqa: PLC0415

        serve_wsgi(app, options)


def _serve_asgi(app: Any, options: ServeOptions) -> None:
    if options.server == "hypercorn":
        if importlib.util.find_spec("hypercorn") is None:
            hint = 'pip install "meshlib[hypercorn]"'
            raise ConfigError("server", "hypercorn", "a package that is installed", hint=hint)
        from meshlib.serve.hypercorn import serve_asgi  # noqa: PLC0415
    else:
        from meshlib.serve.uvicorn import serve_asgi  # noqa: PLC0415
    serve_asgi(app, options)
