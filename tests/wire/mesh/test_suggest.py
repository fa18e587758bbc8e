"""From traffic that was watched to rules that allow it, with a service that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshlib import Mesh
from meshlib.cli.app import cli
from meshlib.control.registry import Document

HERE = Path(__file__).parent
PATIENCE = 20.0


@pytest.fixture(params=["teller.py", "wsgi_hello.py"], ids=["asgi", "wsgi"])
def backend(home, request):
    """A service in a process of its own, or in two that are forked."""
    command = [sys.executable, HERE / request.param, "backend"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield
        process.terminate()


def run(*arguments, stdin=None):
    result = CliRunner().invoke(cli, arguments, input=stdin)
    return result.exit_code, result.stdout


def until(condition):
    """Try until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end


def observed(http):
    http.get("http://backend/")
    code, text = run("authz", "suggest", "backend")
    return code == 0 and "meshlib allow frontend backend --method GET --path /\n" in text


def test_watch_suggest_apply_enforce(backend):
    """What the caller did goes on, all else ends; and what was seen can be forgotten."""
    serving = {"Serving": {"Authorization": "audit"}}
    code, text = run("authz", "suggest", "backend")
    assert code != 0
    with Mesh("frontend") as mesh, mesh.client() as http:
        mesh.control.put(Document("traffic-policy", "backend", serving))
        until(lambda: observed(http))
        code, text = run("authz", "suggest", "backend", "--document")
        assert {"Name": "*", "Action": "deny"} == json.loads(text)["Sources"][-1]
        assert 0 == run("apply", "-", stdin=text)[0]
        mesh.control.delete("traffic-policy", "backend")
        until(lambda: http.delete("http://backend/").status_code == 403)
        assert 200 == http.get("http://backend/").status_code
    assert 0 == run("authz", "suggest", "backend", "--forget")[0]
    assert 0 != run("authz", "suggest", "backend")[0]
