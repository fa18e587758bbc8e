"""
Build the virtual environment that `make` works in: `python3 scripts/setup_venv.py .venv`.

Needs the standard library and pip only.  Debian splits `ensurepip` off its python3; there the pip
of the machine installs into an environment made without one.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def create(folder: Path) -> list[str]:
    """Make the environment; returns the pip command that installs into it."""
    has_pip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, clear=True, with_pip=has_pip, symlinks=True)
    python = str(folder / "bin" / "python")
    if has_pip:
        return [python, "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", python]


def install(pip: list[str]) -> int:
    """Install meshlib, editable, with what tests and checks need; returns pip's exit status."""
    options = ["install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    wanted = ["--editable", f"{ROOT}[dev]"]
    status = subprocess.run([*pip, *options, *constraints, *wanted], check=False).returncode
    # it asks for a cryptography older than ours, and works with ours
    scanner = ["--no-deps", "sslyze"]
    return (
        status or subprocess.run([*pip, *options, *constraints, *scanner], check=False).returncode
    )


def main() -> int:
    """Build the environment named on the command line."""
    folder = Path(sys.argv[1])
    print(f"building {folder} with Python {sys.version.split()[0]} (once; about a minute)")
    return install(create(folder))


if __name__ == "__main__":
    sys.exit(main())
