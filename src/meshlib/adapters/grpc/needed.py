"""Says what to install before Python says what it could not import."""

from __future__ import annotations

from importlib import import_module

from meshlib.errors import MeshError


def check_installed() -> None:
    """Raises MeshError if a package of the extra `grpc` is missing."""
    for package, name in (("grpcio", "grpc"), ("hpack", "hpack")):
        try:
            import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name != name:
                raise
            raise MeshError(
                f"the package {package} is missing",
                why="gRPC is an extra of meshlib",
                hint="pip install 'meshlib[grpc]'",
            ) from exc
