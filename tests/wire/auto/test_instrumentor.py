"""`opentelemetry-instrument` in place of `meshlib run`, and servers behind a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.testing.appear import appear
from meshlib.testing.launch import launched

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
OTEL = str(BIN / "opentelemetry-instrument")
ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    peer = scope["state"]["mesh_peer"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": peer.service.encode()})
"""
WRAPPED = """
import sys
from flask import Flask, request
from meshlib.auto import process
app = Flask(__name__)
app.get("/")(lambda: request.environ["mesh.peer"].service)
app.wsgi_app = process.current().wsgi(app.wsgi_app)
if __name__ == "__main__":
    app.run("127.0.0.1", 0)
"""


@pytest.fixture
def caller(home):
    """Another member of the mesh."""
    with Mesh("caller") as mesh:
        yield mesh


def test_opentelemetry_turns_it_on(caller) -> None:
    """With MESHLIB_SERVICE set the program serves in the mesh."""
    environ = {**os.environ, "MESHLIB_SERVICE": "web"}
    command = [OTEL, sys.executable, "backend.py", "0"]
    with subprocess.Popen(command, env=environ, cwd=PROGRAMS) as program:
        try:
            appear(caller, "web")
            with caller.client() as client:
                assert "caller" == client.get("http://web/whoami").json()["peer"]
        finally:
            program.terminate()


def test_opentelemetry_leaves_others_alone(home) -> None:
    """Without MESHLIB_SERVICE one line says that the mesh is off."""
    program = "import requests; print(type(requests.adapters.HTTPAdapter.send).__name__)"
    done = subprocess.run(
        [OTEL, sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "function\n" == done.stdout
    assert "the mesh is off: MESHLIB_SERVICE does not say" in done.stderr


def test_gunicorn_with_uvicorns_workers(caller, tmp_path) -> None:
    """uvicorn serves in each of them."""
    (tmp_path / "asgi.py").write_text(ASGI)
    gunicorn = (str(BIN / "gunicorn"), "asgi:app", "-k", "uvicorn.workers.UvicornWorker")
    command = (*gunicorn, "--bind", "127.0.0.1:0", "--no-control-socket")
    with launched("web", *command, cwd=tmp_path), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").text


def test_a_reloader(caller) -> None:
    """The child of Flask's reloader serves, and the launcher says nothing is wrong."""
    flask = (str(BIN / "flask"), "--app", "backend", "run", "--port", "0", "--reload")
    with launched("web", *flask, cwd=PROGRAMS), caller.client() as client:
        appear(caller, "web")
        assert 200 == client.get("http://web/whoami").status_code


def test_who_has_wrapped_itself(caller, tmp_path) -> None:
    """An application of Flask's around the mesh's wrapper is asked once, and knows its caller."""
    (tmp_path / "wrapped.py").write_text(WRAPPED)
    with launched("web", sys.executable, "wrapped.py", cwd=tmp_path), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").text
