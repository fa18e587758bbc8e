"""`consul connect proxy`, the sidecar within Consul's own binary, both ways with a service of ours.

It is Consul's Go SDK on its side: what holds with it holds with every Connect-native Go program.
"""

from __future__ import annotations

import asyncio
import http.client
from contextlib import ExitStack

import httpx
import pytest

from meshlib import Mesh
from meshlib.control.consul.registrar import ConsulRegistrar
from meshlib.control.registry import Registration
from meshlib.observe.quiet import Quiet
from meshlib.testing.connect_proxy import ConnectProxy, Program, plain_get
from meshlib.testing.consul_party import Party, who_calls

INTENTIONS = "/v1/connect/intentions"


def deny(client, source, destination) -> None:
    client.post(
        INTENTIONS, {"SourceName": source, "DestinationName": destination, "Action": "deny"}
    )


class Neighbours:
    """A service of ours, and a program behind Consul's sidecar; each may call the other."""

    def __init__(self, agent, name: str, running: ExitStack) -> None:
        self.ours = running.enter_context(Party(agent.address(), f"{name}-ours"))
        self.our_port = running.enter_context(self.ours.serving(who_calls))
        self.program = running.enter_context(Program(f"{name}-theirs"))
        self.theirs = self.program.name
        upstreams = (self.ours.service,)
        proxy = ConnectProxy(agent, self.theirs, self.program.server_port, upstreams)
        self.proxy = running.enter_context(proxy)

    def they_ask(self) -> tuple[int, str]:
        """The program calls our service by its sidecar."""
        return plain_get(self.proxy.upstreams[self.ours.service])

    def we_ask(self, service: str = "") -> httpx.Response:
        """Our service calls the sidecar, and expects it to be `service`."""
        with self.ours.client(service or self.theirs, self.proxy.port) as client:
            return client.get(f"http://{service or self.theirs}/")

    def we_ask_in_a_loop(self) -> httpx.Response:
        """The same on an event loop."""

        async def main() -> httpx.Response:
            async with self.ours.async_client(self.theirs, self.proxy.port) as client:
                return await client.get(f"http://{self.theirs}/")

        return asyncio.run(main())


@pytest.fixture
def neighbours(dev_agent, name):
    with ExitStack() as running:
        yield Neighbours(dev_agent, name, running)


def test_they_call_us(neighbours):
    """It finds our registration, greets us with ALPN h2 and no SNI, and is served HTTP/1.1."""
    assert (200, neighbours.theirs) == neighbours.they_ask()


def test_we_call_them(neighbours):
    """The sidecar proves to be the program's service, and lets us in."""
    response = neighbours.we_ask()
    assert (200, neighbours.theirs) == (response.status_code, response.text)


def test_a_mesh_finds_them(dev_agent, name, tmp_path):
    """By the name of the program, though what is registered is its sidecar."""
    with (
        Program(name) as program,
        ConnectProxy(dev_agent, name, program.server_port, registers=True),
        Mesh("front", control=dev_agent.url, home=str(tmp_path)) as mesh,
        mesh.client() as http,
    ):
        assert name == http.get(f"http://{name}/").text


def test_we_are_refused_by_them(neighbours, client):
    """Its alert comes when the request is sent already; the error says what may be behind it."""
    deny(client, neighbours.ours.service, neighbours.theirs)
    for ask in neighbours.we_ask, neighbours.we_ask_in_a_loop:
        with pytest.raises(httpx.HTTPError, match="refused the certificate of this pro") as caught:
            ask()
        assert "intention" in str(caught.value)


def test_they_are_refused_by_us(neighbours, client):
    """With a status, and as soon as the intention has arrived; others come through."""
    assert (200, neighbours.theirs) == neighbours.they_ask()
    deny(client, neighbours.theirs, neighbours.ours.service)
    neighbours.ours.until_decided(neighbours.theirs, allowed=False)
    status, _ = neighbours.they_ask()
    assert 403 == status
    assert neighbours.ours.greet(neighbours.ours.service, neighbours.our_port)


def test_they_are_not_whom_we_expect(neighbours):
    """A sidecar of another service, with a good certificate, never sees the request."""
    with pytest.raises(httpx.ConnectError, match="not who is expected"):
        neighbours.we_ask("somebody-else")


def test_we_are_not_whom_they_expect(neighbours, dev_agent, client, name):
    """Registered as another service than our certificate says, we are not talked to."""
    registrar = ConsulRegistrar(client, event=Quiet().control_event)
    pretended = f"{name}-pretended"
    registrar.register(Registration(pretended, pretended, "127.0.0.1", neighbours.our_port))
    port = neighbours.program.server_port
    try:
        with ConnectProxy(dev_agent, neighbours.theirs, port, (pretended,)) as proxy:
            with pytest.raises((OSError, http.client.HTTPException)):
                plain_get(proxy.upstreams[pretended])
            proxy.journal.wait_for(
                lambda: any("peer certificate mismatch" in line for line in proxy.journal.lines),
                "it says why",
            )
    finally:
        registrar.close()
