"""Waiting until a registry shows so many instances of a service."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from meshlib.model import Bound

if TYPE_CHECKING:
    from meshlib.mesh import Mesh
    from meshlib.model import Endpoint

_PATIENCE = 30.0
"""Seconds; a process starts in a few."""


def appear(
    mesh: Mesh, service: str, count: int = 1, *, port: int | None = None
) -> tuple[Endpoint, ...]:
    """The endpoints of a service, once there are exactly `count`, all at `port` if one is given.

    Raises TimeoutError.
    """
    watch, changed = mesh.control.endpoints(service), threading.Condition()

    def seen() -> tuple[Endpoint, ...]:
        value = watch.value
        return value.snapshot.endpoints if isinstance(value, Bound) else ()

    def is_so() -> bool:
        return len(seen()) == count and all(port in {None, each.port} for each in seen())

    def tell() -> None:
        with changed:
            changed.notify_all()

    unsubscribe = watch.subscribe(tell)
    try:
        with changed:
            if not changed.wait_for(is_so, _PATIENCE):
                raise TimeoutError(f"{service} has {seen()}, not {count} instances")
        return seen()
    finally:
        unsubscribe()
