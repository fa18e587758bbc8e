"""
What a program calls with, each library wrapped when the program imports it and not before.

Each module names the versions it knows in `SUPPORTED`, and has a `wrap(library)` and an `unwrap()`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import wrapt

LIBRARIES = {
    "aiohttp": "aiohttp",
    "grpc": "grpc",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "requests": "requests",
    "urllib.request": "urllib_request",
    "urllib3": "urllib3",
}
"""The module here that wraps a library, by the library's own."""

_wanted: set[str] = set()
"""Libraries to wrap once they are imported."""
_waited_for: set[str] = set()
"""What an import hook stands for: hooks cannot be taken away again."""
_wrapped: set[str] = set()


def wrap() -> None:
    """Wrap every library that is imported, and the others when they will be.

    Raises ConfigError for a version that meshlib does not know, if the egress is "deny"; otherwise
    an error is logged, and that library's calls do not go through the mesh.
    """
    _wanted.update(LIBRARIES)
    for library in LIBRARIES:
        if library not in _waited_for:
            _waited_for.add(library)
            wrapt.register_post_import_hook(_hook(library), library)  # now, if it is imported
        elif library in sys.modules:
            _wrap(library, sys.modules[library])


def unwrap() -> None:
    """Leave every library as it was."""
    _wanted.clear()
    while _wrapped:
        _ours(_wrapped.pop()).unwrap()


def _hook(library: str) -> Callable[[Any], None]:
    return lambda module: _wrap(library, module)


def _wrap(library: str, module: Any) -> None:
    if library in _wanted and library not in _wrapped:
        _wrapped.add(library)
        _ours(library).wrap(module)


def _ours(library: str) -> Any:
    return importlib.import_module(f"{__name__}.{LIBRARIES[library]}")
