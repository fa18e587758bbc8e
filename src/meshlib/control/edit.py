"""Changing documents safely: read, change, write back only if nobody else was faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from meshlib.control.registry import ConfigSource, Document
from meshlib.errors import ControlError

Body: TypeAlias = Mapping[str, Any]

TRIES = 10
"""Compare-and-set rounds before giving up; each lost round means that somebody else wrote."""


def update(
    config: ConfigSource, kind: str, name: str, change: Callable[[Body], Body]
) -> tuple[Document | None, Document]:
    """Change one document; returns what stood there, if anything, and what stands there now.

    Equal documents are not written.  Raises ConfigError, ControlError when others keep writing at
    the same time, RegistryUnavailable.
    """
    for _ in range(TRIES):
        found = config.get(kind, name)
        given = found or Document(kind, name, {"Kind": kind, "Name": name})
        new = Document(kind, name, change(given.body), given.version)
        if found is not None and new.body == found.body:
            return found, found
        if config.put(new, cas=True):
            return found, new
    why = f"each of {TRIES} tries found a newer version than the one it had read"
    raise ControlError(f"{kind}/{name} was not written", why=why, hint="try again")
