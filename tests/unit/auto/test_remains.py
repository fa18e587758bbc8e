from __future__ import annotations

import os
import subprocess
import sys

import pytest

from meshlib.auto.launch.remains import is_anybody_left

MARK = "MESHLIB_TEST_MARK=here"
WAITS = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def left():
    """A process with MARK that ends when its stdin does."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "MESHLIB_TEST_MARK": "here"},
    ) as process:
        process.stdout.readline()
        yield process


@pytest.fixture
def alone():
    """A pipe of which nobody else has an end."""
    reads, writes = os.pipe()
    os.close(writes)
    yield reads
    os.close(reads)


def test_what_goes_on_is_seen(left, alone):
    """By its environment, when it holds nothing of ours."""
    assert is_anybody_left(alone, MARK, 0.0)
    assert not is_anybody_left(alone, "MESHLIB_TEST_MARK=there", 0.0)


def test_what_ends_soon_is_not_left(left, alone):
    """multiprocessing's resource tracker ends a moment after the one that started it."""
    left.stdin.close()
    assert not is_anybody_left(alone, MARK, 60.0)


def test_who_holds_the_pipe_is_left():
    """Whatever its environment."""
    reads, writes = os.pipe()
    try:
        assert is_anybody_left(reads, MARK, 0.0)
    finally:
        os.close(reads)
        os.close(writes)
