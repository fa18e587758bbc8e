"""
What the three demo programs have in common: their options, their name, their start and their end.

    python -m meshlib.demo.backend --version v2 --home /tmp/mesh
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meshlib import Mesh
from meshlib.demo import tracing
from meshlib.errors import MeshError


@dataclass(frozen=True, slots=True)
class About:
    """Which instance answered."""

    service: str
    version: str
    instance: str

    def said(self) -> dict[str, str]:
        """As it stands in every answer, under `served_by`."""
        return asdict(self)


def options(service: str) -> argparse.ArgumentParser:
    """The options that all three programs take."""
    parser = argparse.ArgumentParser(prog=f"python -m meshlib.demo.{service}")
    parser.add_argument("--version", default="v1", help="version to register (default: v1)")
    parser.add_argument("--instance", help="name of this instance (default: made of the pid)")
    parser.add_argument("--home", type=Path, help="state folder of the mesh")
    parser.add_argument("--control", help="control plane")
    parser.add_argument("--port", type=int, default=0, help="mesh port (default: a free one)")
    leash = "stop when standard input ends, as it does when whoever holds it dies"
    parser.add_argument("--leash", action="store_true", help=leash)
    return parser


def serve(
    service: str,
    given: argparse.Namespace,
    build: Callable[[Mesh, About], Any],
    *,
    edge: str | None = None,
) -> int:
    """Run what `build` makes until SIGTERM; returns the exit code."""
    about = About(service, given.version, given.instance or f"{service}-{os.getpid()}")
    if given.leash:
        threading.Thread(target=_follow_stdin, name="leash", daemon=True).start()
    if given.home is not None:
        tracing.install(about.service, about.instance, given.home, root=edge is not None)
    try:
        _run(about, given, build, edge)
    except MeshError as exc:
        print(f"{about.instance}: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(
    about: About,
    given: argparse.Namespace,
    build: Callable[[Mesh, About], Any],
    edge: str | None,
) -> None:
    mesh = Mesh(
        about.service,
        version=about.version,
        instance=about.instance,
        home=None if given.home is None else str(given.home),
        control=given.control,
    )
    with mesh:
        mesh.run(build(mesh, about), port=given.port, edge=edge)


def _follow_stdin() -> None:
    """End this process when the other end of standard input is gone, however it went."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
