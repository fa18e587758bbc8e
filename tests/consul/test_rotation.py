"""The CA is rotated while everybody talks to everybody: not one exchange fails."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from meshlib.testing.connect_proxy import ConnectProxy, Program, plain_get
from meshlib.testing.consul_party import Party, who_calls
from meshlib.testing.traffic import Traffic

pytestmark = pytest.mark.timeout(180)

WSGI_PARTY = Path(__file__).with_name("wsgi_party.py")


@contextmanager
def wsgi_party(service: str, control: str):
    """A service of two worker processes; its port."""
    command = [sys.executable, WSGI_PARTY, service, control]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate()


def good(response) -> None:
    assert 200 == response.status_code, response.text


def lanes_of_ours(traffic: Traffic, caller: Party, service: str, port: int) -> None:
    """One client of each kind, and one connection after the other."""
    url = f"http://{service}/"

    async def ask(client) -> None:
        good(await client.get(url))

    traffic.async_lane(f"async to {service}", lambda: caller.async_client(service, port), ask)
    clients = caller.client(service, port)
    client = traffic.running.enter_context(clients)
    traffic.lane(f"sync to {service}", lambda: good(client.get(url)))
    traffic.lane(f"new to {service}", lambda: caller.greet(service, port))


class Everybody(Traffic):
    """Services of ours of either kind, and a program behind Consul's sidecar."""

    def __init__(self, agent, running: ExitStack) -> None:
        super().__init__()
        self.running = running
        self.caller = running.enter_context(Party(agent.address(), "caller"))
        self.asgi = running.enter_context(Party(agent.address(), "asgi"))
        asgi = running.enter_context(self.asgi.serving(who_calls))
        wsgi = running.enter_context(wsgi_party("wsgi", agent.url))
        program = running.enter_context(Program("theirs"))
        proxy = running.enter_context(
            ConnectProxy(agent, "theirs", program.server_port, ("asgi", "wsgi"))
        )
        lanes_of_ours(self, self.caller, "asgi", asgi)
        lanes_of_ours(self, self.caller, "wsgi", wsgi)
        lanes_of_ours(self, self.caller, "theirs", proxy.port)
        self._laggard(agent, asgi, wsgi)
        for name, port in proxy.upstreams.items():
            self.lane(f"theirs to {name}", lambda port=port: self.plain(port))

    def _laggard(self, agent, asgi: int, wsgi: int) -> None:
        """One that hears of nothing: it keeps its leaf, and trusts the old root only."""
        laggard = self.running.enter_context(Party(agent.address(), "laggard"))
        port = self.running.enter_context(laggard.serving(who_calls))
        laggard.identity.close()
        self.lane("laggard to asgi", lambda: laggard.greet("asgi", asgi))
        self.lane("laggard to wsgi", lambda: laggard.greet("wsgi", wsgi))
        self.lane("to the laggard", lambda: self.caller.greet("laggard", port))

    def plain(self, port: int) -> None:
        assert (200, "theirs") == plain_get(port)

    def renewed(self) -> bool:
        """Whether everybody was seen with a second certificate."""
        greeted = [seen for name, seen in self.seen.items() if name.startswith("new ")]
        return all(len(seen) > 1 for seen in greeted)


def test_rotation_under_traffic(own_agent):
    """Both roots at once, then everybody's leaf in Consul's half minute; then with the new ones.

    Server and client side, threads and event loop, one process and forked workers, lasting
    connections and new ones, our TLS and Go's; and one that is cut off from Consul all the while.
    It fails when only the active root is trusted, or a leaf is sent without its chain.
    """
    with ExitStack() as running, Everybody(own_agent, running) as everybody:
        everybody.flows()
        before = everybody.caller.credentials.value.leaf
        own_agent.rotate_ca()
        everybody.until(everybody.renewed)
        everybody.until(lambda: everybody.caller.credentials.value.leaf != before)
        everybody.flows()
        assert [] == everybody.problems
