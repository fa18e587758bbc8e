"""
What Consul can do to a mesh that runs on it: nothing, to requests between known-good endpoints.

Each fault happens under a load of a synchronous and an asynchronous client.  Before, while and
after, not one request may fail; and afterwards the mesh learns of somebody new.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from meshlib import Mesh, MeshError
from meshlib.control.consul.faults import AgentUnreachable, ConsulFault, NotThere, ServerTrouble
from meshlib.control.local.registrar import TTL
from meshlib.model import Bound
from meshlib.observe.quiet import Quiet
from meshlib.testing.consul import ConsulAgent

pytestmark = pytest.mark.timeout(120)

PROGRAM = Path(__file__).with_name("shopkeeper.py")
SOME = 150
"""Requests before, while and after: at a few milliseconds each, more than any time-out here."""
PATIENCE = 60.0
HANGS = 20.0
"""Seconds a request may hang whose servers do not answer; 7 to 20 and more were seen."""


class Load(Quiet):
    """Asks `shop` from two threads, one of them with an event loop, until it is left.

    It listens to its mesh, too.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[str] = []
        self._ending = threading.Event()
        self.problems: list[str] = []
        self.answered: Counter[str] = Counter()

    def ran(self, count: int = SOME) -> None:
        """Block until so many more requests were answered."""
        with self._changed:
            goal = self.answered.total() + count
            done = self._changed.wait_for(
                lambda: self.problems or self.answered.total() >= goal, PATIENCE
            )
        assert [] == self.problems[:3]
        assert done, "requests hang"

    def answered_by(self, instance: str) -> None:
        """Block until that instance has answered."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self.problems or self.answered[instance], PATIENCE
            )
        assert [] == self.problems[:3]
        assert done, f"{instance} was never found: {self.answered}"

    def hears(self, kind: str) -> None:
        """Block until there was such an event, while requests go on."""
        with self._changed:
            done = self._changed.wait_for(lambda: self.problems or kind in self._events, PATIENCE)
        assert [] == self.problems[:3]
        assert done, f"no {kind}, only {self._events}"

    def control_event(self, kind: str, subject: str, text: str) -> None:
        with self._changed:
            self._events.append(kind)
            self._changed.notify_all()

    def note(self, response) -> None:
        with self._changed:
            if response.status_code == 200:
                self.answered[response.json()["instance"]] += 1
            else:
                self.problems.append(f"{response.status_code}: {response.text}")
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self.problems.append(repr(error))
            self._changed.notify_all()

    def ask(self) -> None:
        try:
            with self._mesh.client(timeout=20) as client:
                while not self._ending.is_set():
                    self.note(client.get("http://shop/"))
        except (httpx.HTTPError, MeshError) as exc:
            self.fail(exc)

    def ask_in_a_loop(self) -> None:
        async def main() -> None:
            async with self._mesh.async_client(timeout=20) as client:
                while not self._ending.is_set():
                    self.note(await client.get("http://shop/"))

        try:
            asyncio.run(main())
        except (httpx.HTTPError, MeshError) as exc:
            self.fail(exc)

    @contextmanager
    def on(self, mesh: Mesh):
        self._mesh = mesh
        self._threads = [threading.Thread(target=each) for each in (self.ask, self.ask_in_a_loop)]
        for each in self._threads:
            each.start()
        try:
            yield
        finally:
            self._ending.set()
            for each in self._threads:
                each.join()


@contextmanager
def running(instance: str, control: str):
    """A process that serves `shop`, from its port on to its end."""
    command = [sys.executable, str(PROGRAM), "shop", instance, control]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().strip().isdecimal()
            yield process
        finally:
            process.terminate()
            process.communicate()


def knows(mesh: Mesh, count: int) -> None:
    """Block until the mesh knows so many instances of the shop."""
    there = threading.Event()
    watch = mesh.control.endpoints("shop")

    def look() -> None:
        if isinstance(watch.value, Bound) and len(watch.value.snapshot.endpoints) >= count:
            there.set()

    watch.subscribe(look)
    assert there.wait(PATIENCE), f"known are {watch.value}"


@contextmanager
def under_load(control: str, home):
    """Two instances of the shop, and a load on them that has begun."""
    with ExitStack() as stack:
        for instance in ("v1-a", "v2-b"):
            stack.enter_context(running(instance, control))
        load = Load()
        mesh = Mesh("front", control=control, home=str(home), listeners=(load,))
        stack.enter_context(mesh)
        knows(mesh, 2)
        stack.enter_context(load.on(mesh))
        load.ran()
        yield load


def somebody_new(load: Load, control: str) -> None:
    """An instance that registers now is found."""
    with running("v3-new", control):
        load.answered_by("v3-new")
        load.ran()


def outage(agent: ConsulAgent, seconds: float) -> ConsulFault:
    """Ask for what only a leader can answer; what comes of it, in the end."""
    with agent.client() as client:
        with pytest.raises(ConsulFault) as caught:
            client.get("/v1/kv/anything", timeout=seconds)
    return caught.value


def elected(agent: ConsulAgent) -> None:
    """Ask until a leader answers: each question takes until it is refused."""
    with agent.client() as client:
        while True:
            with suppress(NotThere):
                try:
                    client.get("/v1/kv/anything")
                except (ServerTrouble, AgentUnreachable):
                    continue
            return


def test_the_agent_is_killed_and_returns(server, home):
    """Nobody notices that there is no agent; and it is spoken to again when there is one."""
    with under_load(server.url, home) as load:
        server.kill()
        load.hears("agent-lost")
        load.ran()
        server.start()
        load.hears("agent-back")
        load.ran()
        somebody_new(load, server.url)


def test_the_agent_is_frozen(server, home):
    """An agent that never answers holds nobody up, and that it missed heartbeats does no harm."""
    with under_load(server.url, home) as load:
        server.freeze()
        assert isinstance(outage(server, 1.2 * TTL), AgentUnreachable)
        load.ran()
        server.thaw()
        somebody_new(load, server.url)


def test_mass_vanish(server, home):
    """Everybody is unhealthy at one moment: all are called on, and believed when they are back.

    Without the guard (by hand) every request fails until then.
    """
    with under_load(server.url, home) as load, server.client() as client:
        client.put("/v1/agent/maintenance", enable="true")
        load.hears("endpoints-held")
        load.ran()
        client.put("/v1/agent/maintenance", enable="false")
        load.hears("endpoints-released")
        somebody_new(load, server.url)


def test_the_agent_returns_with_an_older_index(server, home, tmp_path):
    """Data of an earlier day: what it does not know any more is registered again."""
    server.kill()
    shutil.copytree(server.folder / "data", tmp_path / "earlier")
    server.start()
    with server.client() as client:
        for number in range(50):
            client.put(f"/v1/kv/higher/{number}", b"x")
    with under_load(server.url, home) as load:
        server.kill()
        shutil.rmtree(server.folder / "data")
        shutil.copytree(tmp_path / "earlier", server.folder / "data")
        server.start()
        load.hears("agent-back")
        load.ran()
        somebody_new(load, server.url)


def test_the_leader_is_killed(own_cluster, home):
    """The others elect one, and meanwhile what was known is enough."""
    with under_load(own_cluster.url, home) as load:
        own_cluster.leader().kill()
        elected(own_cluster.client_agent)
        load.ran()
        somebody_new(load, own_cluster.url)


def test_the_leader_is_frozen(own_cluster, home):
    """Requests to it hang; requests of the mesh do not."""
    with under_load(own_cluster.url, home) as load:
        leader = own_cluster.leader()
        leader.freeze()
        assert outage(own_cluster.client_agent, HANGS)
        elected(own_cluster.client_agent)
        load.ran()
        leader.thaw()
        somebody_new(load, own_cluster.url)


def test_the_quorum_is_lost(own_cluster, home):
    """Without a majority nothing can be written, and what was known stays."""
    with under_load(own_cluster.url, home) as load:
        leader = own_cluster.leader()
        followers = [each for each in own_cluster.servers if each is not leader]
        for each in followers:
            each.freeze()
        assert outage(own_cluster.client_agent, HANGS)
        load.ran()
        for each in followers:
            each.thaw()
        somebody_new(load, own_cluster.url)
