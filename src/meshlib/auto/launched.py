"""The mesh of a program that was launched: it tells its launcher what it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib.auto import report
from meshlib.mesh import Mesh

if TYPE_CHECKING:
    from meshlib.control.registry import Lease


class LaunchedMesh(Mesh):
    """A mesh made of settings."""

    def _register(self, host: str, port: int, *, protocol: str = "") -> Lease:
        lease = super()._register(host, port, protocol=protocol)
        report.say("serving", host, port)
        return lease
