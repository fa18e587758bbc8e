"""What is built is what was written."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"

# `src` may be on the path (editable install, PYTHONPATH): take it off, or nothing is proved.
PROGRAM = """
import pkgutil, sys
target, sources = sys.argv[1:]
sys.path[:] = [target, *(p for p in sys.path if p and p != sources)]
import meshlib
for module in pkgutil.walk_packages(meshlib.__path__, "meshlib."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
strangers = [m for n, m in sys.modules.items() if n.split(".")[0] == "meshlib"]
print(all(m.__file__.startswith(target) for m in strangers))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    """Modules, `py.typed` and data files are all in the wheel, and nothing else is."""
    written = {
        path.relative_to(SOURCES).as_posix()
        for path in (SOURCES / "meshlib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert written == packed
    assert "meshlib/py.typed" in packed


def test_the_wheel_works_without_the_source(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, every module imports from there."""
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(target), str(SOURCES)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "True" == done.stdout.strip(), done.stderr
