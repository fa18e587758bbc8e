"""Servers under a reloader leave in good order, as they do without one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.testing.appear import appear
from meshlib.testing.launch import launched

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
RELOADING = {
    "flask": (str(BIN / "flask"), "--app", "backend", "run", "--debug", "--port", "0"),
    "django": (sys.executable, "django_app.py", "runserver", "127.0.0.1:0"),
    "uvicorn": (
        *(str(BIN / "uvicorn"), "--interface", "wsgi", "backend:app"),
        *("--reload", "--reload-dir", str(PROGRAMS), "--port", "0"),
    ),
}


LENGTH = {"content-length": str(len("begun, finished"))}


@pytest.fixture
def caller(home):
    """Another member of the mesh."""
    with Mesh("caller") as mesh:
        yield mesh


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["launcher", "group"])
@pytest.mark.parametrize("command", RELOADING.values(), ids=RELOADING)
def test_sigterm_drains(caller, command, send) -> None:
    """Nobody finds it any more, what is in flight is finished, and then it ends."""
    with launched("web", *command, cwd=PROGRAMS) as program:
        appear(caller, "web")

        def body():
            yield b"begun, "
            send(program.process.pid, signal.SIGTERM)
            appear(caller, "web", 0)
            yield b"finished"

        with caller.client(timeout=30) as client:
            answer = client.post("http://web/echo", content=body(), headers=LENGTH)
        assert (200, "begun, finished") == (answer.status_code, answer.text)
        assert 0 == program.wait()


@pytest.mark.parametrize(("name", "source"), [("flask", "backend.py"), ("django", "django_app.py")])
def test_a_reload_is_another_instance(caller, tmp_path, name, source) -> None:
    """The old one is gone before the new one comes, and that one drains as well."""
    file = Path(shutil.copy(PROGRAMS / source, tmp_path))
    with launched("web", *RELOADING[name], cwd=tmp_path) as program:
        appear(caller, "web")
        file.write_text(file.read_text() + "\n")
        appear(caller, "web", 0)
        appear(caller, "web")
        with caller.client(timeout=30) as client:
            assert 200 == client.get("http://web/whoami").status_code
        program.process.terminate()
        appear(caller, "web", 0)
        assert 0 == program.wait()
