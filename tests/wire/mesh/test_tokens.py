"""Tokens of end users, checked by real services with keys that another service publishes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.control.registry import Document
from meshlib.testing.issuer import ISSUER, Issuer

HERE = Path(__file__).parent
PATIENCE = 20.0
"""Seconds a change may take to arrive."""


@pytest.fixture
def him():
    """One who issues tokens, from this moment on."""
    return Issuer(time.time())


@pytest.fixture
def publisher(home, tmp_path, him):
    """A service of the mesh that publishes what is in a file."""
    file = tmp_path / "keys.json"
    file.write_bytes(him.published())
    command = [sys.executable, HERE / "publisher.py", file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield file
        process.terminate()


@pytest.fixture(params=["teller.py", "wsgi_hello.py"], ids=["asgi", "wsgi"])
def backend(publisher, request):
    """A service in a process of its own, or in two that are forked."""
    command = [sys.executable, HERE / request.param, "backend"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield
        process.terminate()


def until(status: int, http, token: str) -> list[int]:
    """Ask until the answer has this status; all that were seen."""
    end = time.monotonic() + PATIENCE
    headers = {"authorization": f"Bearer {token}"} if token else {}
    seen = []
    while (not seen or seen[-1] != status) and time.monotonic() < end:
        seen.append(http.get("http://backend/", headers=headers).status_code)
    assert status == seen[-1], set(seen)
    return seen


def test_keys_through_the_mesh(backend, publisher, him):
    """Configured while it runs, with keys from a service; a rotation reaches every worker."""
    provider = {"Issuer": ISSUER, "Audiences": ["backend"], "JwksUrl": "http://publisher/keys"}
    successor = Issuer(time.time(), kid="k2")
    serving = {"Jwt": {"Providers": {"corp": {**provider, "Refresh": "1s"}}, "Required": "always"}}
    with Mesh("frontend") as mesh, mesh.client() as http:
        until(200, http, "")
        mesh.control.put(Document("traffic-policy", "backend", {"Serving": serving}))
        until(401, http, "")
        assert {401, 503, 200}.issuperset(until(200, http, him.token()))
        assert [401] == until(401, http, successor.token())
        publisher.write_bytes(him.published(successor))
        until(200, http, successor.token())
        publisher.write_bytes(b"<html>")
        assert [200] == until(200, http, him.token())
        jwt = {"Providers": [{"Name": "corp", "VerifyClaims": [{"Path": ["role"], "Value": "a"}]}]}
        permission = {"Action": "allow", "HTTP": {"PathPrefix": "/"}, "JWT": jwt}
        body = {"Sources": [{"Name": "frontend", "Permissions": [permission]}]}
        mesh.control.put(Document("service-intentions", "backend", body))
        mesh.control.put(
            Document("service-intentions", "*", {"Sources": [{"Name": "*", "Action": "deny"}]})
        )
        until(200, http, him.token(role="a"))
