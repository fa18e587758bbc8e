"""What every test may rely on; helpers of one package live in that package's own conftest."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from meshlib.context import _current, current

# The same examples on every run, so that a red build means a changed program.  To hunt for new
# ones: HYPOTHESIS_PROFILE=search make test
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

LAST_WORDS = 2.0
"""Seconds a thread that was told to stop may take to do so."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private state folder, also named by MESHLIB_HOME."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("MESHLIB_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_component() -> Callable[[str], str]:
    """Find the program of that name: without it the test fails in CI and is skipped elsewhere."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None and os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed here, and CI tests against the real one")
        if found is None:
            pytest.skip(f"{name} is not installed here")
        return found

    return find


def _lasting() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a non-daemon thread behind: a program doing so would never end."""
    before = _lasting()
    yield
    left = _lasting() - before
    for thread in left:
        thread.join(LAST_WORDS)
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert [] == alive, f"threads left running: {', '.join(alive)}"


@pytest.fixture(autouse=True)
def no_request_left() -> Iterator[None]:
    """Fail a test that leaves a request being served behind: calls of others would belong to it."""
    yield
    left = current()
    _current.set(None)
    assert left is None, f"still being served: {left!r}"
