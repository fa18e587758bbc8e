"""Programs that fork, before or after they have called somebody."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.testing.appear import appear
from meshlib.testing.hosted import hosted
from meshlib.testing.launch import launched

PROGRAMS = Path(__file__).parent / "programs"
GUNICORN = str(Path(sys.executable).parent / "gunicorn")


async def whoami(scope, receive, send):
    """Tell who asks."""
    if scope["type"] != "http":
        return
    body = f'{{"peer": "{scope["state"]["mesh_peer"].service}"}}'.encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def backend(home):
    """A service in this process; its mesh calls others as well."""
    with Mesh("backend") as mesh, hosted(mesh, whoami):
        yield mesh


def test_calls_before_and_after_a_fork(backend) -> None:
    """Connections, watches and certificates are there again in the child."""
    program = PROGRAMS / "forking.py"
    with launched(
        "forks",
        sys.executable,
        str(program),
        "http://backend",
        PYTHONWARNINGS="ignore",  # Python 3.12 on a fork beside threads
    ) as running:
        assert 0 == running.wait()
        assert ["after forks", "before forks", "child forks"] == sorted(running.said.splitlines())


def test_gunicorn_preloads_a_module_that_calls(backend) -> None:
    """It calls in the arbiter, and all workers go on calling; they are one instance."""
    command = (GUNICORN, "preloaded:app", "--no-control-socket", "--preload", "--workers", "3")
    more = ("--bind", "127.0.0.1:0")
    environ = {"BACKEND": "http://backend"}
    with launched("pre", *command, *more, cwd=PROGRAMS, **environ), backend.client() as client:
        appear(backend, "pre")
        for _ in range(6):
            assert "pre pre True" == client.get("http://pre/").text
