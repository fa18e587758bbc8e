"""
The one mesh of a process that was never told of it.

It is made of `MESHLIB_*` settings when something first needs it.  A forked child goes on with its
parent's: a `Mesh` knows when it has been forked.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshlib.auto.meaning import Meaning
    from meshlib.mesh import Mesh


class _Process:
    """What there is one of."""

    def __init__(self) -> None:
        self.mesh: Mesh | None = None
        self.meaning: Meaning | None = None
        self.lock = threading.Lock()

    def forked(self) -> None:
        """Another thread of the parent may have held the lock, and is not here to release it."""
        self.lock = threading.Lock()


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forked)


def current() -> Mesh:
    """The mesh of this process, made now if nothing needed it before.

    Raises ConfigError for settings that cannot be used; so does the next call.
    """
    found = _process.mesh
    if found is not None:
        return found
    with _process.lock:
        if _process.mesh is None:
            _process.mesh = _made()
        return _process.mesh


def meaning() -> Meaning:
    """What addresses mean to this process.  Raises ConfigError, as `current` does."""
    mesh, found = current(), _process.meaning
    if found is None or found.mesh is not mesh:
        from meshlib.auto.meaning import Meaning

        found = _process.meaning = Meaning(mesh)
    return found


def install(mesh: Mesh) -> None:
    """Use this mesh from now on, in place of one made of settings.  Whoever gives it closes it."""
    with _process.lock:
        _process.mesh = mesh


def reset() -> None:
    """Forget the mesh: the next call makes a new one.  It is not closed."""
    with _process.lock:
        _process.mesh = _process.meaning = None


def _made() -> Mesh:
    from meshlib.auto.launched import LaunchedMesh

    return LaunchedMesh()
