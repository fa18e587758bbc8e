"""Serving an application in the mesh: what stands around it, and two servers to run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from meshlib.serve.options import ServeOptions

__all__ = ["serve"]


def serve(app: Any, options: ServeOptions, *, kind: Literal["asgi", "wsgi"] | None = None) -> None:
    """Serve an ASGI application with uvicorn, a WSGI one with gunicorn; return when drained.

    `kind` settles what the application does not tell.  Raises ConfigError, and what
    `serve.uvicorn.serve_asgi` and `serve.gunicorn.serve_wsgi` raise.
    """
    # each server is loaded only by those who run it
    from meshlib.serve.detect import kind_of  # noqa: PLC0415

    if kind_of(app, kind) == "asgi":
        from meshlib.serve.uvicorn import serve_asgi  # noqa: PLC0415

        serve_asgi(app, options)
    else:
        from meshlib.serve.gunicorn import serve_wsgi  # noqa: PLC0415

        serve_wsgi(app, options)
