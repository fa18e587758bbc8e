"""Whether an application speaks ASGI or WSGI."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Literal, TypeAlias

from meshlib.errors import ConfigError
from meshlib.serve.asgi import MeshASGI
from meshlib.serve.wsgi import MeshWSGI

Kind: TypeAlias = Literal["asgi", "wsgi"]


def kind_of(app: object, kind: str | None = None) -> Kind:
    """The protocol `app` speaks; `kind` settles it.  Raises ConfigError when nothing tells.

    A coroutine function, or one that takes (scope, receive, send), is ASGI; one that takes
    (environ, start_response) is WSGI.
    """
    if kind in {"asgi", "wsgi"}:
        return "asgi" if kind == "asgi" else "wsgi"
    if kind is not None:
        raise ConfigError("kind", kind, '"asgi" or "wsgi"')
    if isinstance(app, MeshASGI):
        return "asgi"
    if isinstance(app, MeshWSGI):
        return "wsgi"
    found = _inspected(app) if callable(app) and not inspect.isclass(app) else None
    if found is None:
        raise ConfigError(
            "app",
            app,
            "an ASGI or a WSGI application",
            hint='say which it is: kind="asgi" or kind="wsgi"' if callable(app) else "",
        )
    return found


def _inspected(app: object) -> Kind | None:
    function = app.func if isinstance(app, partial) else app
    call = type(function).__call__ if hasattr(type(function), "__call__") else function  # noqa: B004
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        return "asgi"
    return {3: "asgi", 2: "wsgi"}.get(_required(app))  # type: ignore[return-value]


def _required(app: object) -> int:
    """How many positional arguments must be given; -1 when the signature does not say."""
    try:
        parameters = inspect.signature(app).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return -1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters)
