"""A service and its caller with certificates from files, renewed and rotated under their feet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib import Mesh
from meshlib.control.spiffe.source import WorkloadIdentity
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.workload_api import WorkloadApi, response

HERE = Path(__file__).parent
PATIENCE = 20.0
CA, NEXT = ThrowawayCA(now=time.time()), ThrowawayCA(now=time.time())


def put(folder, service, ca=CA, roots=(CA,)):
    """Write one file after the other, each at once."""
    folder.mkdir(exist_ok=True)
    made = ca.leaf(uris=(ca.id_of(service),))
    bundle = b"".join(each.root.certificate.public_bytes(Encoding.PEM) for each in roots)
    for name, data in ("ca.crt", bundle), ("tls.crt", made.chain_pem), ("tls.key", made.key_pem):
        (folder / "new").write_bytes(data)
        (folder / "new").rename(folder / name)
    return made


@pytest.fixture(params=[("asgi", "httptools", "uvloop"), ("wsgi",)], ids=["asgi", "wsgi"])
def backend(home, tmp_path, request):
    """The folder of a service in a process of its own."""
    folder = tmp_path / "backend"
    put(folder, "backend")
    environ = {**os.environ, "MESHLIB_IDENTITY": f"files:{folder}"}
    command = [sys.executable, HERE / "lenient.py", *request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield folder
        process.terminate()


def test_a_rotation_of_everything(backend, tmp_path):
    """New roots, new leaves, old roots gone: not one request fails, and the old CA is out."""
    mine = tmp_path / "mine"
    put(mine, "frontend")
    with Mesh("frontend", identity=f"files:{mine}") as mesh, mesh.client() as http:
        statuses = set()

        def ask_until(condition):
            end = time.monotonic() + PATIENCE
            while not condition():
                assert time.monotonic() < end
                answer = http.get("http://backend/")
                statuses.add(answer.status_code)
                assert "frontend" == json.loads(answer.content)[0]

        def generations(count):
            first = mesh.credentials.value.generation
            return lambda: mesh.credentials.value.generation >= first + count

        for ca, roots in (CA, (CA, NEXT)), (NEXT, (CA, NEXT)):
            following = generations(1)
            put(backend, "backend", ca, roots)
            put(mine, "frontend", ca, roots)
            ask_until(following)
            since = time.monotonic()
            ask_until(lambda since=since: time.monotonic() > since + 1.5)
        assert {200} == statuses


def test_what_is_not_ours(home, tmp_path):
    """A folder of somebody else, and a setting that names none."""
    put(tmp_path / "other", "other")
    with Mesh("frontend", identity=f"files:{tmp_path / 'other'}") as mesh:
        with pytest.raises(IdentityUnavailable, match="frontend"):
            mesh.credentials  # noqa: B018 - asked for the first time
    for bad in "files:", "folder", "spiffe":
        with pytest.raises(ConfigError, match="identity"):
            Mesh("frontend", identity=bad)


def test_a_partner_calls(backend, tmp_path):
    """A member of another trust domain is let in for as long as its roots are there."""
    partner = ThrowawayCA("partner.org", now=time.time())
    trusted = backend / "bundles" / "partner.org.pem"
    trusted.parent.mkdir()
    agent = WorkloadApi(f"unix:{tmp_path}/agent.sock").start()
    agent.say(response(partner, "guest", trust=[CA]))
    source = WorkloadIdentity(agent.address, ids={"backend": CA.id_of("backend")})
    try:
        with Mesh("guest", identity=source) as mesh, mesh.client() as http:
            assert not answered(http)
            trusted.write_bytes(partner.root.certificate.public_bytes(Encoding.PEM))
            until(lambda: answered(http))
            trusted.unlink()
            until(lambda: not answered(http))
    finally:
        source.close()
        agent.stop()


def answered(http):
    """Whether the backend answers; it refuses by closing, or on a connection that stood by 421."""
    try:
        return 200 == http.get("http://backend/").status_code
    except httpx.TransportError:
        return False


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
