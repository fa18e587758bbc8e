"""A service and its caller with identities of a Workload API, rotated under their feet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest

from meshlib import Mesh
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.observe.quiet import Quiet
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.workload_api import WorkloadApi, response
from meshlib.trust.bundle import TrustBundle

HERE = Path(__file__).parent
PATIENCE = 20.0


class Ear(Quiet):
    """A listener that can be waited for."""

    def __init__(self):
        self.heard, self._changed = [], threading.Condition()

    def control_event(self, kind, subject, text):
        with self._changed:
            self.heard.append((kind, text))
            self._changed.notify_all()

    def hears(self, kind):
        with self._changed:
            assert self._changed.wait_for(lambda: kind in dict(self.heard), PATIENCE), self.heard
            return dict(self.heard)[kind]


@pytest.fixture
def ca():
    return ThrowawayCA(now=time.time())


@pytest.fixture
def agent(tmp_path):
    """Make the Workload API of one workload: what it says is said to everybody who asks."""
    made = []

    def make(name):
        made.append(WorkloadApi(f"unix:{tmp_path}/{name}.sock").start())
        return made[-1]

    yield make
    for each in made:
        each.stop()


SERVERS = {
    "uvicorn": ("asgi", "httptools", "uvloop"),
    "gunicorn": ("wsgi",),
}


@pytest.fixture(params=[SERVERS["uvicorn"], SERVERS["gunicorn"]], ids=["uvicorn", "gunicorn"])
def backend(home, agent, ca, request):
    """The Workload API of a service that runs in a process of its own."""
    api = agent("backend")
    api.say(response(ca, "backend"))
    environ = {**os.environ, "MESHLIB_IDENTITY": f"spiffe:{api.address}"}
    command = [sys.executable, HERE / "lenient.py", *request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield api
        process.terminate()


def both(one, other):
    """An own bundle with the roots of two CAs."""
    return TrustBundle(one.trust_domain, one.bundle.roots | other.bundle.roots)


def said(ca, service, bundle):
    """A response with fresh SVIDs of one CA, and another bundle."""
    good = response(ca, service)
    [svid] = good.svids
    roots = b"".join(sorted(bundle.roots))
    return type(good)((type(svid)(svid.spiffe_id, svid.chain, svid.key, roots),))


def test_a_rotation_of_everything(backend, agent, ca):
    """New roots, new SVIDs, old roots gone: not one request fails."""
    mine, successor = agent("frontend"), ThrowawayCA(now=time.time())
    mine.say(response(ca, "frontend"))
    with Mesh("frontend", identity=f"spiffe:{mine.address}") as mesh, mesh.client() as http:
        statuses, callers = set(), set()

        def ask_for(seconds):
            since = time.monotonic()
            while time.monotonic() < since + seconds:
                answer = http.get("http://backend/")
                statuses.add(answer.status_code)
                callers.add(json.loads(answer.content)[0])

        ask_for(0.3)
        steps = [
            (ca, both(ca, successor)),
            (successor, both(ca, successor)),
            (successor, successor.bundle),
        ]
        for signer, bundle in steps:
            first = mesh.credentials.value.generation
            mine.say(said(signer, "frontend", bundle))
            backend.say(said(signer, "backend", bundle))
            ask_for(0.7)
            assert first < mesh.credentials.value.generation
        assert ({200}, {"frontend"}) == (statuses, callers)
        assert successor.bundle == mesh.credentials.value.bundles[ca.trust_domain]


def test_an_agent_that_goes_away(backend, agent, ca):
    """What it said last serves on, until its time is over; then the error says what is wrong."""
    mine, ear = agent("frontend"), Ear()
    mine.say(response(ca, "frontend", since=-3.0, until=4.0))
    where = f"spiffe:{mine.address}"
    with Mesh("frontend", identity=where, listeners=(ear,)) as mesh, mesh.client() as http:
        assert 200 == http.get("http://backend/").status_code
        mine.stop()
        ear.hears("identity-trouble")
        assert 200 == http.get("http://backend/").status_code
        assert "should have been renewed" in ear.hears("leaf-overdue")
        assert 200 == http.get("http://backend/").status_code
        ear.hears("leaf-expired")
        with pytest.raises(httpx.ConnectError, match="no Workload API"):
            http.get("http://backend/")
        mine.say(response(ca, "frontend"))
        mine.start()
        ear.hears("identity-restored")
        assert 200 == http.get("http://backend/").status_code


def test_not_registered(home, agent):
    """Whoever the agent does not know hears how it would be known."""
    mine = agent("frontend")
    mine.say(grpc.StatusCode.PERMISSION_DENIED)
    with Mesh("frontend", identity=f"spiffe:{mine.address}") as mesh:
        with pytest.raises(IdentityUnavailable, match="knows no identity") as caught:
            mesh.credentials  # noqa: B018 - asked for the first time
        assert "register it" in caught.value.hint


def test_no_agent(home, tmp_path, monkeypatch):
    """Where the environment says it is, it is looked for."""
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", f"unix://{tmp_path}/none.sock")
    with Mesh("frontend", identity="spiffe:") as mesh:
        with pytest.raises(IdentityUnavailable, match=r"none\.sock"):
            mesh.credentials  # noqa: B018 - asked for the first time


@pytest.mark.parametrize("bad", ["spiffe", "spiffe:/run/agent.sock", "spiffe:http://127.0.0.1"])
def test_what_is_no_address(home, bad):
    """Is refused before anything is asked."""
    with pytest.raises(ConfigError, match="identity"):
        Mesh("frontend", identity=bad)
