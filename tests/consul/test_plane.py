"""A mesh on a real Consul: what `Mesh(..., control=...)` promises, across processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from meshlib import IdentityUnavailable, Mesh
from meshlib.control.consul.faults import NotAllowed
from meshlib.control.consul.plane import ConsulControl
from meshlib.control.registry import Document, Registration
from meshlib.errors import ConfigError, NoEndpoint, NoRoute
from meshlib.model import Bound, Failed
from meshlib.observe.quiet import Quiet

PROGRAMS = Path(__file__).parent.parent / "wire" / "mesh"
PATIENCE = 20.0
"""Seconds until a change must have arrived; it takes hundredths of one."""


class Hears(Quiet):
    """Keeps what the control plane tells."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self._changed = threading.Condition()

    def control_event(self, kind: str, subject: str, text: str) -> None:
        with self._changed:
            self.events.append((kind, subject, text))
            self._changed.notify_all()

    def of(self, kind: str, subject: str = "") -> list[str]:
        return [text for k, s, text in self.events if k == kind and subject in s]

    def wait_for(self, kind: str, subject: str = "", seconds: float = 5.0) -> str:
        """The first such event; they have to be told within five seconds."""
        with self._changed:
            there = self._changed.wait_for(lambda: self.of(kind, subject), seconds)
        assert there, f"no {kind} among {self.events}"
        return self.of(kind, subject)[0]


@pytest.fixture
def hears():
    """A listener."""
    return Hears()


@contextmanager
def serving(program: str, service: str, control: str, **environ: str):
    """A process of a service, from its port on to its end."""
    command = [sys.executable, PROGRAMS / program, service]
    env = {**os.environ, "MESHLIB_CONTROL": control, **environ}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout.readline().strip().isdecimal()
            yield process
        finally:
            process.terminate()
            process.communicate()


def until(watch, happened) -> None:
    """Block until a watch has a value that will do."""
    there = threading.Event()
    stop = watch.subscribe(lambda: happened(watch.value) and there.set())
    assert there.wait(PATIENCE), watch.value
    stop()


def count(resolution) -> int:
    """How many endpoints there are."""
    return len(resolution.snapshot.endpoints) if isinstance(resolution, Bound) else 0


@pytest.mark.parametrize("program", ["teller.py", "wsgi_hello.py"], ids=["asgi", "wsgi"])
def test_a_call_from_process_to_process(dev_agent, home, name, program):
    """With mutual TLS from Consul's CA, by both clients; who is not of the mesh gets no answer."""
    with (
        serving(program, name, dev_agent.url),
        Mesh(f"{name}-front", control=dev_agent.url) as mesh,
        mesh.client() as http,
    ):
        assert 200 == http.get(f"http://{name}/").status_code
        (endpoint,) = mesh.control.endpoints(name).value.snapshot.endpoints
        assert name in str(mesh.explain("GET", f"http://{name}/"))
        with httpx.Client(verify=False) as stranger, pytest.raises(httpx.HTTPError):
            stranger.get(f"https://{endpoint.authority}/")


def test_two_hops_between_faces_and_a_drain(dev_agent, home, name):
    """A service calls another one; one that leaves is gone before it stops to answer."""
    with (
        serving("teller.py", f"{name}-b", dev_agent.url) as back,
        serving("teller.py", f"{name}-a", dev_agent.url),
        Mesh(f"{name}-front", control=dev_agent.url) as mesh,
        mesh.client() as http,
    ):
        told = http.get(f"http://{name}-a/{name}-b/").json()
        assert 2 == len(told)
        with serving("teller.py", f"{name}-b", dev_agent.url):
            endpoints = mesh.control.endpoints(f"{name}-b")
            until(endpoints, lambda said: count(said) == 2)
            back.terminate()
            while count(endpoints.value) == 2:
                assert 200 == http.get(f"http://{name}-b/").status_code
            back.wait()
            for _ in range(20):
                assert 200 == http.get(f"http://{name}-b/").status_code


def test_with_nothing_but_service_identities(acl_agent, home, name):
    """Default deny: tokens of service identities and an intention are enough."""
    shop, front = f"{name}-shop", f"{name}-front"
    with acl_agent.client(acl_agent.master) as client:
        body = {"SourceName": front, "DestinationName": shop, "Action": "allow"}
        client.post("/v1/connect/intentions", body)
    token = acl_agent.token_for(shop)
    with (
        serving("teller.py", shop, acl_agent.url, CONSUL_HTTP_TOKEN=token),
        Mesh(front, control=acl_agent.url, token=acl_agent.token_for(front)) as mesh,
        mesh.client() as http,
        Mesh(name, control=acl_agent.url, token=acl_agent.token_for(name)) as other,
        other.client() as uninvited,
    ):
        assert 200 == http.get(f"http://{shop}/").status_code
        assert 403 == uninvited.get(f"http://{shop}/").status_code


@pytest.mark.parametrize("way", ["unix", "https", "token_file"])
def test_every_way_to_an_agent(dev_agent, https_agent, acl_agent, home, name, tmp_path, way):
    """Gives an identity, a place in the register, and what others have there."""
    (tmp_path / "token").write_text(acl_agent.token_for(name))
    files = {each: getattr(https_agent, each) for each in ("ca_file", "cert_file", "key_file")}
    control = {
        "unix": f"consul+unix://{dev_agent.socket}",
        "https": f"{https_agent.url}?{urlencode(files)}",
        "token_file": f"{acl_agent.url}?token_file={tmp_path / 'token'}",
    }[way]
    with Mesh(name, control=control) as mesh:
        assert mesh.credentials.value.leaf.spiffe_id.endswith(f"/svc/{name}")
        mesh.control.register(Registration(name, f"{name}-1", "127.0.0.1", 1))
        until(mesh.control.endpoints(name), lambda said: count(said) == 1)


def test_a_client_object_is_an_address(dev_agent, home, name):
    """Of py-consul; it is not used itself."""
    import consul

    given = consul.Consul(host="127.0.0.1", port=dev_agent.ports.http)
    with Mesh(name, control=given) as mesh:
        assert dev_agent.url in repr(mesh)
        assert isinstance(mesh.control.services(), tuple)


@pytest.mark.parametrize("control", ["consul", "http://x:1", "consul://x:port", 5])
def test_settings_that_name_no_consul(control):
    """Are told with the setting."""
    with pytest.raises(ConfigError, match="control"):
        assert Mesh("front", control=control).control


def test_a_forked_child_goes_on(dev_agent, home, name):
    """With threads and connections of its own: it hears of what comes, and so does its parent."""
    with (
        serving("teller.py", name, dev_agent.url),
        Mesh(f"{name}-front", control=dev_agent.url) as mesh,
        mesh.client() as http,
    ):
        assert 200 == http.get(f"http://{name}/").status_code
        child = os.fork()
        if not child:
            try:
                assert 200 == http.get(f"http://{name}/").status_code
                until(mesh.control.endpoints(name), lambda said: count(said) == 2)
                os._exit(0)
            finally:
                os._exit(1)
        with serving("teller.py", name, dev_agent.url):
            until(mesh.control.endpoints(name), lambda said: count(said) == 2)
            assert 0 == os.waitpid(child, 0)[1]
        assert 200 == http.get(f"http://{name}/").status_code


def test_a_service_in_two_datacentres(federation, home, name):
    """Is two services, each with instances and an age of its own; the snapshot has both."""
    with (
        ConsulControl(federation.dc2.address()) as there,
        ConsulControl(federation.dc1.address(), home=home, name=name) as here,
    ):
        here.register(Registration(name, "a", "127.0.0.1", 1))
        for id_ in ("b", "c"):
            there.register(Registration(name, id_, "127.0.0.1", 1))
        until(here.endpoints(name), lambda said: count(said) == 1)
        until(here.endpoints(name, "dc2"), lambda said: count(said) == 2)
        ages = here.age(name), here.age(f"{name}@dc2")
        assert all(age is not None and age < PATIENCE for age in ages)
    assert f'"{name}@dc2"' in next(home.rglob("*.snapshot")).read_text("utf-8")


def test_nothing_is_opened_before_it_is_used(dev_agent, home, name):
    """Neither by a mesh nor by its clients and control plane; and nothing runs after the end."""
    before = set(threading.enumerate())
    mesh = Mesh(name, control=dev_agent.url)
    with mesh.client(), ConsulControl(dev_agent.address()) as control:
        assert before == set(threading.enumerate())
        assert 0 == control._client.connections
    with mesh.client() as http, pytest.raises(NoRoute):
        http.get(f"http://{name}-nobody/")
    mesh.close()
    left = {each for each in set(threading.enumerate()) - before if each.is_alive()}
    assert not [each for each in left if "consul" in each.name or "heartbeat" in each.name]
    assert 0 == mesh.control._client.connections


# ---- bad input: each is told within five seconds, by what it is


def test_a_token_nobody_knows(acl_agent, home, name):
    """Is refused, not waited for."""
    with Mesh(name, control=acl_agent.url, token="x" * 36) as mesh, mesh.client() as http:
        with pytest.raises(IdentityUnavailable, match="ACL not found"):
            http.get("http://shop/")


def test_no_right_to_the_service(acl_agent, home, name, hears):
    """Names the right: for the identity and for the registration."""
    token = acl_agent.token_for("somebody-else")
    with Mesh(name, control=acl_agent.url, token=token, listeners=(hears,)) as mesh:
        with mesh.client() as http, pytest.raises(IdentityUnavailable, match="service:write"):
            http.get("http://shop/")
        with pytest.raises(NotAllowed, match=f"service:write on '{name}'"):
            mesh.control.register(Registration(name, f"{name}-1", "127.0.0.1", 1))


def test_no_right_to_nodes(acl_agent, home, name, hears):
    """Consul answers with an empty list then; the mesh does not."""
    token = acl_agent.token_with(
        f'service "{name}" {{ policy = "write" }} service_prefix "" {{ policy = "read" }}'
    )
    with Mesh(name, control=acl_agent.url, token=token, listeners=(hears,)) as mesh:
        with mesh.client() as http, pytest.raises(NoEndpoint, match="node:read"):
            http.get("http://shop/")
        assert "node:read" in hears.wait_for("not-allowed", "shop")


def test_no_right_to_policies(acl_agent, home, name, hears):
    """A service identity may not read keys; it works, and it is said."""
    token = acl_agent.token_for(name)
    with Mesh(name, control=acl_agent.url, token=token, listeners=(hears,)) as mesh:
        mesh.control.documents("shop")
        assert "key:read" in hears.wait_for("not-allowed", "traffic-policy")


def test_an_unknown_datacentre(dev_agent, home, name, hears):
    """Is told for what was wanted of it."""
    with Mesh(name, control=dev_agent.url, listeners=(hears,)) as mesh:
        endpoints = mesh.control.endpoints("shop", "nowhere")
        assert "'nowhere'" in hears.wait_for("unknown-datacenter", "shop@nowhere")
        until(endpoints, lambda said: isinstance(said, Failed))


def test_an_agent_without_connect(consul_binary, short_folder, home, name):
    """Can give no identity, and says what to set."""
    from meshlib.testing.consul import ConsulAgent

    config = {"connect": {"enabled": False}, "server": True, "bootstrap_expect": 1}
    with ConsulAgent(consul_binary, short_folder(), dev=False, config=config) as agent:
        with Mesh(name, control=agent.url) as mesh, mesh.client() as http:
            with pytest.raises(IdentityUnavailable, match="enabled = true"):
                http.get("http://shop/")


def test_nobody_at_the_address(own_agent, home, name, hears):
    """Is told by a call within its time, and by the breaker."""
    own_agent.kill()
    with Mesh(name, control=own_agent.url, listeners=(hears,)) as mesh:
        with mesh.client(timeout=0.2) as http, pytest.raises(IdentityUnavailable, match=r"0\.2 s"):
            http.get("http://shop/")
        with mesh.client() as http, pytest.raises(IdentityUnavailable, match="nobody listens"):
            http.get("http://shop/")
        assert hears.wait_for("agent-lost", own_agent.url)


def test_entries_that_make_no_sense(dev_agent, home, name, hears):
    """Are told by name; calls go on as without them."""
    with dev_agent.client() as client:
        client.put(f"/v1/kv/meshlib/traffic-policy/{name}", b"{no json")
    with Mesh(f"{name}-front", control=dev_agent.url, listeners=(hears,)) as mesh:
        with serving("teller.py", name, dev_agent.url), mesh.client() as http:
            assert 200 == http.get(f"http://{name}/").status_code
        assert hears.wait_for("document-refused", name)


# ---- surviving


def test_a_cold_start_without_consul(server, home, name, hears):
    """Whom to call and how is known from the run before; without a certificate it waits.

    The same call succeeds once the agent answers, in the same process.
    """
    policy = Document("traffic-policy", name, {"Timeout": "7s"})
    with serving("teller.py", name, server.url):
        with Mesh(f"{name}-front", control=server.url) as before, before.client() as http:
            assert before.control.put(policy)
            until(before.control.documents(name), lambda said: "7s" in str(said))
            until(before.control.intentions(name), lambda said: said.allow)
            assert 200 == http.get(f"http://{name}/").status_code
        server.kill()
        with Mesh(f"{name}-front", control=server.url, listeners=(hears,)) as after:
            documents = after.control.documents(name)
            until(after.control.endpoints(name), lambda said: count(said) == 1)
            until(documents, lambda said: "7s" in str(said))
            until(after.control.intentions(name), lambda said: said.allow)
            assert "s ago is used" in hears.wait_for("snapshot-used", name)
            with after.client() as http:
                with pytest.raises(IdentityUnavailable):
                    http.get(f"http://{name}/")
                server.start()
                assert 200 == http.get(f"http://{name}/").status_code


def test_no_secret_on_the_disk(dev_agent, home, name):
    """Whatever a mesh leaves there: no key, no token."""
    token = "0123-a-secret-4567"
    with Mesh(name, control=dev_agent.url, token=token) as mesh:
        key = mesh.credentials.value.leaf.key_pem
        until(mesh.control.endpoints("consul"), lambda said: said is not None)
        until(mesh.control.documents(name), lambda said: True)
    written = b"".join(each.read_bytes() for each in home.rglob("*") if each.is_file())
    assert b"PRIVATE" not in written
    assert token.encode() not in written
    assert key[40:80] not in written
