"""A real Envoy with certificates of Consul's CA, both ways with a service of ours.

Its configuration is what Consul's own xDS server gives to a sidecar, written by hand: Consul 1.8
speaks a version of it that Envoys of today have forgotten.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from meshlib.testing.connect_proxy import Program, plain_get
from meshlib.testing.consul_party import Party, who_calls
from meshlib.testing.envoy import Sidecar
from meshlib.testing.traffic import Traffic

INTENTIONS = "/v1/connect/intentions"


class Neighbours:
    """A service of ours, and a program behind Envoy; each may call the other."""

    def __init__(self, agent, name, binary, folder, running):
        self.ours = running.enter_context(Party(agent.address(), f"{name}-ours"))
        self.our_port = running.enter_context(self.ours.serving(who_calls))
        self.theirs = f"{name}-theirs"
        self._program = running.enter_context(Program(self.theirs))
        self._agent, self._binary, self._folder, self._running = agent, binary, folder, running

    def party(self, service, agent=None):
        """One more service of ours."""
        party = Party((agent or self._agent).address(), service)
        return self._running.enter_context(party)

    def sidecar(self, credentials=None, **settings):
        """Envoy beside the program: our service may call it, and it calls our service."""
        settings = {
            "application": self._program.server_port,
            "allows": self.ours.service,
            "upstream": self.our_port,
            "expects": self.ours.spiffe_id(self.ours.service),
            **settings,
        }
        credentials = credentials or self.party(self.theirs).credentials
        made = Sidecar(self._binary, self._folder(), credentials, **settings)
        return self._running.enter_context(made)


@pytest.fixture
def neighbours(dev_agent, name, envoy_binary, short_folder):
    with ExitStack() as running:
        yield Neighbours(dev_agent, name, envoy_binary, short_folder, running)


def ask(caller, service, envoy):
    """Our service calls Envoy, and expects it to be `service`."""
    with caller.client(service, envoy.inbound) as client:
        return client.get(f"http://{service}/")


def test_they_call_us(neighbours):
    """Its exact match of our id holds, with TLS 1.2 and on sessions it comes back with.

    Every connection is for one request, and Envoy resumes by default; it fails when our server does
    not remember the anchors of sessions (hand mutation of `trust.sessions`).
    """
    envoy = neighbours.sidecar(one_each=True)
    assert [(200, neighbours.theirs)] * 6 == [plain_get(envoy.outbound) for _ in range(6)]
    assert "TLSv1.2" in envoy.stats("cluster.upstream.ssl.versions")
    assert envoy.count("cluster.upstream.ssl.session_reused") > 0


def test_we_call_them(neighbours):
    """The sidecar proves to be the program's service, and lets us in."""
    response = ask(neighbours.ours, neighbours.theirs, neighbours.sidecar())
    assert (200, neighbours.theirs) == (response.status_code, response.text)


def test_we_ask_for_them_by_name(neighbours):
    """Our clients send the server name that Consul's gateways route by."""
    name = neighbours.ours.server_name(neighbours.theirs)
    right = neighbours.sidecar(server_names=[name])
    assert 200 == ask(neighbours.ours, neighbours.theirs, right).status_code
    wrong = neighbours.sidecar(server_names=[f"v2.{name}"])
    with pytest.raises(httpx.HTTPError):
        ask(neighbours.ours, neighbours.theirs, wrong)


def test_they_are_not_whom_we_expect(neighbours):
    """A sidecar of another service, with a good certificate, never sees the request."""
    envoy = neighbours.sidecar()
    with pytest.raises(httpx.ConnectError, match="not who is expected"):
        ask(neighbours.ours, "somebody-else", envoy)
    assert 0 == envoy.count("http.application.downstream_rq_total")


def test_we_are_not_whom_they_expect(neighbours):
    """Envoy gives nothing to a server whose id differs from the expected one."""
    envoy = neighbours.sidecar(expects=neighbours.ours.spiffe_id("somebody-else"))
    assert 503 == plain_get(envoy.outbound)[0]
    assert 1 <= envoy.count("cluster.upstream.ssl.fail_verify_san")


def test_we_are_refused_by_them(neighbours):
    """An intention, which to Envoy is a list of ids (RBAC), is enforced by it; others come in."""
    envoy = neighbours.sidecar()
    other = neighbours.party(f"{neighbours.theirs}-other")
    with pytest.raises(httpx.HTTPError):
        ask(other, neighbours.theirs, envoy)
    assert 200 == ask(neighbours.ours, neighbours.theirs, envoy).status_code
    assert 1 == envoy.count("intentions.rbac.denied")


def test_they_are_refused_by_us(neighbours, client):
    """With a status, and as soon as the intention has arrived."""
    envoy = neighbours.sidecar()
    assert 200 == plain_get(envoy.outbound)[0]
    names = {"SourceName": neighbours.theirs, "DestinationName": neighbours.ours.service}
    client.post(INTENTIONS, {**names, "Action": "deny"})
    neighbours.ours.until_decided(neighbours.theirs, allowed=False)
    assert 403 == plain_get(envoy.outbound)[0]


def test_strangers(neighbours, own_agent):
    """A sidecar of another Consul, whose CA we do not know, gets no answer; we get none of it."""
    foreign = neighbours.party(neighbours.theirs, own_agent).credentials
    [ours] = neighbours.ours.credentials.value.bundles.values()
    envoy = neighbours.sidecar(foreign, trusts=ours.roots)
    assert 503 == plain_get(envoy.outbound)[0]
    with pytest.raises(httpx.ConnectError):
        ask(neighbours.ours, neighbours.theirs, envoy)


def asks_for(name, client):
    """One exchange of a client that lasts."""

    def exchange():
        response = client.get(f"http://{name}/")
        assert (200, name) == (response.status_code, response.text)

    return exchange


@pytest.mark.timeout(180)
def test_a_rotation_of_the_ca_under_traffic(own_agent, name, envoy_binary, short_folder):
    """New roots, and within Consul's half minute new leaves: not one exchange with Envoy fails.

    Both ways, over connections that last and new ones; Envoy is handed what rotates as by xDS.
    """
    with ExitStack() as running:
        neighbours = Neighbours(own_agent, name, envoy_binary, short_folder, running)
        ours, theirs = neighbours.ours, neighbours.theirs
        lasting, each = neighbours.sidecar(), neighbours.sidecar(one_each=True)
        client = running.enter_context(ours.client(theirs, lasting.inbound))
        traffic = Traffic()
        traffic.lane("they call", partial(plain_get, lasting.outbound))
        traffic.lane("they call anew", partial(plain_get, each.outbound))
        traffic.lane("we call", asks_for(theirs, client))
        traffic.lane("we call anew", partial(ours.greet, theirs, lasting.inbound))
        before = ours.credentials.value.leaf
        running.enter_context(traffic)
        traffic.flows()
        own_agent.rotate_ca()
        traffic.until(lambda: len(traffic.seen["we call anew"]) > 1)
        traffic.until(lambda: ours.credentials.value.leaf != before)
        traffic.flows()
        assert {(200, theirs)} == traffic.seen["they call"] | traffic.seen["they call anew"]
