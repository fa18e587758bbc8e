"""Intentions written from the command line, and followed by a service that runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshlib import Mesh

HERE = Path(__file__).parent
PATIENCE = 20.0
"""Seconds a change may take to arrive; it takes a tenth of one."""


@pytest.fixture(params=["teller.py", "wsgi_hello.py"], ids=["asgi", "wsgi"])
def backend(home, request):
    """A service in a process of its own, or in two that are forked."""
    command = [sys.executable, HERE / request.param, "backend"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield
        process.terminate()


def meshlib(*arguments: str) -> int:
    """The exit code of a command."""
    return subprocess.run(
        [sys.executable, "-m", "meshlib.cli", *arguments], check=False, capture_output=True
    ).returncode


def until(status: int, http, method: str, path: str) -> None:
    """Ask until the answer has this status: each answer before it has the other one."""
    end = time.monotonic() + PATIENCE
    seen = [http.request(method, f"http://backend{path}").status_code]
    while seen[-1] != status and time.monotonic() < end:
        seen.append(http.request(method, f"http://backend{path}").status_code)
    assert status == seen[-1]
    assert len(set(seen)) <= 2


def test_a_running_service_follows_deny_and_allow(backend):
    """On connections that stand; without one failed request in between."""
    with Mesh("frontend") as mesh, mesh.client() as http:
        assert 200 == http.get("http://backend/").status_code
        assert 0 == meshlib("deny", "*", "backend")
        until(403, http, "GET", "/")
        assert 1 == meshlib("authz", "check", "frontend", "backend", "GET", "/")
        assert 0 == meshlib("allow", "frontend", "backend", "--method", "GET", "--path", "/")
        assert 0 == meshlib("authz", "check", "frontend", "backend", "GET", "/")
        assert 0 == meshlib("delete", "intentions", "backend")
        until(200, http, "GET", "/")


def test_a_rule_looks_at_the_request(backend):
    """One caller may read and not write; another may do neither."""
    assert 0 == meshlib("deny", "*", "backend")
    assert 0 == meshlib("deny", "frontend", "backend")
    assert 0 == meshlib("allow", "frontend", "backend", "--method", "GET")
    with Mesh("frontend") as mesh, mesh.client() as http:
        until(403, http, "DELETE", "/")
        until(200, http, "GET", "/")
    with Mesh("stranger") as mesh, mesh.client() as http:
        until(403, http, "GET", "/")
