"""The CA's root is replaced while two processes talk: nobody notices."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.control.local.ca import LocalCA
from meshlib.control.local.rotation import Rotation
from meshlib.control.local.vault import Vault
from meshlib.model import Bound
from meshlib.observe.quiet import Quiet
from meshlib.trust.tls import MeshContext, member_of
from meshlib.watch import Watch

SERVICE = Path(__file__).with_name("rotating.py")
PATIENCE = 30.0


class Heard(Quiet):
    """Retries and events."""

    def __init__(self):
        self.retries, self.events = [], []
        self.told = threading.Condition()

    def call_retried(self, call, why):
        self.retries.append((call.method, why))

    def control_event(self, kind, subject, text):
        with self.told:
            self.events.append((kind, text))
            self.told.notify_all()

    def await_event(self, kind):
        """The text of the first event of this kind."""
        with self.told:
            assert self.told.wait_for(lambda: kind in dict(self.events), PATIENCE), self.events
            return dict(self.events)[kind]


@pytest.fixture
def service(home):
    """The service, in a process of its own."""
    command = [sys.executable, SERVICE, "rotating"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield process
        process.terminate()


class Load:
    """Synchronous and asynchronous callers that never pause; `answers` only grows."""

    def __init__(self, mesh):
        self._mesh = mesh
        self.answers, self.failures = [], []
        self._done = threading.Event()
        self._more = threading.Condition()
        self._threads = [threading.Thread(target=self._sync) for _ in range(2)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._async())))

    def _sync(self):
        with self._mesh.client() as http:
            while not self._done.is_set():
                self._one(lambda: http.post("http://rotating/", content=b"x" * 100))
                self._one(lambda: http.get("http://rotating/"))

    async def _async(self):
        async def ask(http, method):
            while not self._done.is_set():
                try:
                    answer = await http.request(method, "http://rotating/")
                except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failure
                    self._note(exc)
                else:
                    self._note(answer)

        async with self._mesh.async_client() as http:
            await asyncio.gather(ask(http, "GET"), ask(http, "POST"))

    def _one(self, ask):
        try:
            self._note(ask())
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failure
            self._note(exc)

    def _note(self, answer):
        with self._more:
            if isinstance(answer, Exception) or answer.status_code != 200:
                self.failures.append(answer)
            else:
                self.answers.append(answer.json())
            self._more.notify_all()

    def until(self, holds):
        """Wait for an answer, from now on, that is as it should be."""
        with self._more:
            since = len(self.answers)
            assert self._more.wait_for(
                lambda: any(map(holds, self.answers[since:])) or self.failures, PATIENCE
            ), self.answers[-1:]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def followed(watch, holds):
    """Wait until this process's own credentials are as they should be."""
    there = threading.Event()
    unsubscribe = watch.subscribe(lambda: holds(watch.value) and there.set())
    assert there.wait(PATIENCE)
    unsubscribe()


def roots(credentials):
    return len(next(iter(credentials.bundles.values())).roots)


def test_a_rotation_under_load(home, service):
    """Through prepare, activate and finish no request fails, and none is even sent twice."""
    heard = Heard()
    rotation = Rotation(Vault(home), now=time.time)
    with Mesh("caller", listeners=(heard,)) as mesh, Load(mesh) as load:
        mine = mesh.credentials
        load.until(lambda it: it["roots"] == 1)
        rotation.prepare()
        load.until(lambda it: it["roots"] == 2)
        followed(mine, lambda it: roots(it) == 2)
        rotation.activate()
        load.until(lambda it: it["chain"] == 3)
        followed(mine, lambda it: it.leaf.chain_pem.count(b"BEGIN") == 3)
        rotation.finish(force=True)
        load.until(lambda it: it["roots"] == 1)
        followed(mine, lambda it: roots(it) == 1)
        before = len(load.answers)
        load.until(lambda it: it["roots"] == 1)
    assert [] == load.failures
    assert [] == heard.retries
    assert before < len(load.answers)
    assert 2 == [kind for kind, _ in heard.events].count("roots-changed")


@contextmanager
def connection(mesh, address):
    """A connection of its own that stays: what it was made with stays with it."""
    context = MeshContext(
        Watch(mesh.credentials.value, ready=True),
        server_side=False,
        authorize=member_of("meshlib.local"),
        clock=time.time,
    )
    with socket.create_connection(address, PATIENCE) as sock, context.wrap_socket(sock) as tls:
        yield tls


def status(tls):
    """Of one request on it."""
    tls.sendall(b"GET / HTTP/1.1\r\nHost: rotating\r\n\r\n")
    with tls.makefile("rb") as reply:
        line, length = reply.readline(), 0
        while header := reply.readline().strip():
            if header.lower().startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        reply.read(length)
    return int(line.split()[1])


def test_a_connection_ends_with_the_root_it_was_made_with(home, service):
    """After finish a connection that the dropped root vouched for is told 421, and closed."""
    rotation = Rotation(Vault(home), now=time.time)
    with Mesh("caller") as mesh, mesh.client() as http, connection(mesh, address(mesh)) as old:
        assert 200 == status(old)
        rotation.prepare()
        rotation.activate()
        while http.get("http://rotating/").json()["chain"] != 3:
            pass
        assert 200 == status(old)
        rotation.finish(force=True)
        while (seen := status(old)) == 200:
            pass
        assert (421, b"") == (seen, old.recv(100))


def address(mesh):
    """Where the service listens."""
    found = mesh.control.endpoints("rotating")
    followed(found, lambda it: isinstance(it, Bound))
    endpoint = found.value.snapshot.endpoints[0]
    return endpoint.host, endpoint.port


def test_another_ca_is_noticed_and_not_used(home, service):
    """When its folder is replaced, who runs goes on with what it has, and says what to do."""
    heard = Heard()
    with Mesh("caller", listeners=(heard,)) as mesh, mesh.client() as http:
        assert 200 == http.get("http://rotating/").status_code
        before = mesh.credentials.value
        for each in [*home.glob("root-*"), *home.glob("issuing-*"), home / "state.json"]:
            each.unlink()
        new = LocalCA(home, "meshlib.local", now=time.time)
        text = heard.await_event("ca-replaced")
        assert "restore the folder, or restart every process" in text
        assert new.bundle() not in before.bundles.values()
        assert before is mesh.credentials.value
        assert 200 == http.get("http://rotating/").status_code
        told = subprocess.run(
            [sys.executable, "-m", "meshlib", "ca", "status", "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    shown = json.loads(told.stdout)["instances"]
    assert (3, ["rotating"]) == (told.returncode, [each["service"] for each in shown])
    assert "another CA" in shown[0]["warning"]
    assert shown[0]["signed_by"] is None
