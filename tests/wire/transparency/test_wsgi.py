"""What a Flask application and its clients see with the mesh is what they see without it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshlib import Mesh

TUTORIAL = Path(__file__).with_name("tutorial.py")
TYPES = {"Content-Type": "application/x-www-form-urlencoded"}


@contextlib.contextmanager
def running(kind, home):
    """The application; its port."""
    command = [sys.executable, str(TUTORIAL), kind]
    environment = {
        **os.environ,
        "MESHLIB_HOME": home,
        "PYTHONHASHSEED": "0",
    }  # Flask tells sets in their own order
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory, world):
    """gunicorn alone, and the mesh."""
    home = str(tmp_path_factory.mktemp("home"))
    with (
        running("plain", home) as port,
        running("mesh", home),
        Mesh("front", home=home) as front,
    ):
        yield (
            world("plain", f"http://localhost:{port}", None),
            world("mesh", "http://tutorial", front),
        )


def test_the_tutorial(same, library):
    """Forms, sessions, JSON, errors, files, ranges, conditions, streams, HEAD, 405, odd queries."""
    hello, logged_in, again = same(
        ("GET", "/", {}),
        ("POST", "/login", {"data": b"name=Ada", "headers": TYPES}),
        ("GET", "/", {}),
    )
    assert [b"hello stranger", b"hello Ada", b"hello Ada"] == [
        each.body for each in (hello, logged_in, again)
    ]
    assert 1 == logged_in.hops
    kind = {"Content-Type": "application/json"}
    made, missing, wrong, failed = same(
        ("POST", "/notes", {"data": json.dumps({"text": "é"}).encode(), "headers": kind}),
        ("GET", "/notes/7", {}),
        ("DELETE", "/notes", {}),
        ("GET", "/fails", {}),
    )
    assert [201, 404, 405, 500] == [each.status for each in (made, missing, wrong, failed)]
    whole, part, unchanged, head, empty = same(
        ("GET", "/file", {}),
        ("GET", "/file", {"headers": {"Range": "bytes=10-19"}}),
        ("GET", "/file", {"headers": {"If-None-Match": '"fixed"'}}),
        ("HEAD", "/file", {}),
        ("GET", "/empty", {}),
    )
    assert [200, 206, 304, 200, 204] == [
        each.status for each in (whole, part, unchanged, head, empty)
    ]
    assert (2**20, 10, 0, 0) == tuple(len(each.body) for each in (whole, part, unchanged, head))
    same(
        ("GET", "/stream", {}),
        ("HEAD", "/stream", {}),
        ("POST", "/swallow", {"data": b"s" * 1_000_000}),
        ("GET", "/environ?a=%20+&b=%C3%A9&&c", {}),
    )
    (streamed,) = same(
        ("POST", "/swallow", lambda: {"data": library.produced([b"p" * 10_000] * 100)})
    )
    assert b"1000000" == streamed.body
