"""What is said where an extra was not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASKED = """
import sys
sys.modules[{missing!r}] = None  # as Python marks what cannot be imported
from meshlib import Mesh
from meshlib.errors import MeshError
with Mesh("a", home={home!r}) as mesh:
    try:
        mesh.{face}
    except MeshError as exc:
        print(exc)
"""


@pytest.mark.parametrize(("missing", "package"), [("grpc", "grpcio"), ("hpack", "hpack")])
@pytest.mark.parametrize(
    "face", ["grpc_channel('b')", "grpc_aio_channel('b')", "grpc_server()", "grpc_aio_server()"]
)
def test_grpc_is_an_extra(tmp_path, face, missing, package):
    """The error names the package, and what to type."""
    program = ASKED.format(missing=missing, face=face, home=str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"the package {package} is missing" in done.stdout
    assert "pip install 'meshlib[grpc]'" in done.stdout
