"""The public names, and what it costs to have them."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import meshlib

HEAVY = [
    "aiohttp",
    "asyncio",
    "cryptography",
    "gunicorn",
    "httpx",
    "opentelemetry",
    "sqlite3",
    "tenacity",
    "urllib3",
    "uvicorn",
]


def test_all_is_sorted() -> None:
    """`__all__` reads like an index."""
    assert sorted(meshlib.__all__) == list(meshlib.__all__)


def test_all_is_exact() -> None:
    """Whatever the package holds without an underscore is public, and nothing else is."""
    held = {
        name
        for name, value in vars(meshlib).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    lazy = {name for name in meshlib.__all__ if name not in vars(meshlib)}
    assert held | lazy == set(meshlib.__all__)


@pytest.mark.parametrize("name", getattr(meshlib, "__all__", []))
def test_every_name_resolves(name: str) -> None:
    """Each public name is really there and says what it is."""
    assert getattr(meshlib, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Loading names on first use does not change what a wrong name does."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = meshlib.no_such_name


def test_importing_meshlib_loads_nothing_heavy() -> None:
    """`import meshlib` is cheap: engines, servers and the loop load on first use."""
    program = f"import sys, meshlib; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "" == done.stdout.strip()
