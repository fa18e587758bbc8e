"""Identities of a real Consul: leaves and roots, renewed and rotated; and everything that fails."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from cryptography import x509

from meshlib.adapters.trust import ClientTrust
from meshlib.control.consul.identity import FIRST, ROOTS, ConsulIdentity
from meshlib.control.consul.leafwatch import path_of
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.model import Target
from meshlib.testing.consul import ConsulAgent
from meshlib.testing.consul_party import Party, who_calls
from meshlib.trust.spiffe import parse
from meshlib.trust.tls import PeerRejected, peer_of

PATIENCE = 40.0
SETTINGS = "/v1/connect/ca/configuration"


class Events:
    """What is told of the control plane; waits for it."""

    def __init__(self):
        self.told, self.changed = [], threading.Condition()

    def __call__(self, kind, subject, text):
        with self.changed:
            self.told.append((kind, subject, text))
            self.changed.notify_all()

    def until(self, kind):
        """The first event of a kind."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.of(kind), PATIENCE), self.told
            return self.of(kind)[0]

    def of(self, kind):
        return [each for each in self.told if each[0] == kind]


class Seen:
    """Waits until a watch has a value that passes."""

    def __init__(self, watch):
        self.watch, self.changed, self.values = watch, threading.Condition(), []
        watch.subscribe(self.tell)

    def tell(self):
        with self.changed:
            self.values.append(self.watch.value)
            self.changed.notify_all()

    def until(self, passes):
        with self.changed:
            assert self.changed.wait_for(lambda: passes(self.watch.value), PATIENCE)
            return self.watch.value


@pytest.fixture
def events():
    return Events()


@pytest.fixture
def speak(events):
    """Identities from an agent or client; closed with the test."""
    made = []

    def start(client, **more):
        identity = ConsulIdentity(client, event=events, **more)
        made.append(identity)
        return identity

    yield start
    for each in made:
        each.close()


def short_lived(client, ttl):
    """Leaves with less than Consul's least time to live; the CA stays what it is."""
    config = client.get(SETTINGS).body["Config"]
    config |= {"LeafCertTTL": ttl, "SkipValidate": True}
    client.put(SETTINGS, {"Provider": "consul", "Config": config})


def chain_of(credentials):
    return x509.load_pem_x509_certificates(credentials.leaf.chain_pem)


def serial_of(credentials):
    return chain_of(credentials)[0].serial_number


def test_the_first_credentials(client, speak, name):
    """They are there when the call returns: a leaf of the service, and every root of the domain."""
    identity = speak(client)
    watch = identity.credentials(name)
    value, body = watch.value, client.get(ROOTS).body
    assert (True, 1) == (watch.ready, value.generation)
    assert [body["TrustDomain"]] == list(value.bundles)
    assert len(body["Roots"]) == len(value.bundles[body["TrustDomain"]].roots)
    expected = f"spiffe://{body['TrustDomain']}/ns/default/dc/dc1/svc/{name}"
    assert expected == value.leaf.spiffe_id == identity.spiffe_id(name)
    assert watch is identity.credentials(name)
    assert value.leaf.not_before < time.time() < value.leaf.not_after


def test_what_others_are_called(client, speak, name):
    """Ids and server names are derived from the own id; with none, from what the agent says."""
    domain = client.get(ROOTS).body["TrustDomain"]
    before = speak(client)
    speaking = speak(client)
    speaking.credentials(name)
    for identity in before, speaking:
        assert f"spiffe://{domain}/ns/default/dc/dc1/svc/db" == identity.spiffe_id("db")
        assert f"spiffe://{domain}/ns/default/dc/dc2/svc/db" == identity.spiffe_id("db", "dc2")
        assert f"v1.db.default.dc1.internal.{domain}" == identity.server_name("db", "v1")
        assert f"db.default.dc2.internal.{domain}" == identity.server_name("db", "", "dc2")


def test_names_as_consul_allows_them(client, speak):
    """Consul's names are not DNS labels; the id has them as they are."""
    leaf = speak(client).credentials("My_Svc.Odd").value.leaf
    assert leaf.spiffe_id.endswith("/svc/My_Svc.Odd")


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "../x"])
def test_names_that_cannot_be(client, speak, bad):
    """They are refused before anybody is asked."""
    with pytest.raises(ConfigError):
        speak(client).credentials(bad)


def test_a_rotation_of_the_ca(own_agent, speak):
    """The new root is trusted at once, beside the old one; the new leaf comes with its chain."""
    with own_agent.client() as client:
        watch = speak(client).credentials("web")
        seen, old = Seen(watch), watch.value
        [domain] = old.bundles
        own_agent.rotate_ca()
        both = seen.until(lambda now: len(now.bundles[domain].roots) == 2)
        assert old.leaf == both.leaf
        assert old.bundles[domain].roots < both.bundles[domain].roots
        new = seen.until(lambda now: now.leaf != old.leaf)
        assert 2 == len(chain_of(new))
        generations = [each.generation for each in seen.values]
        assert sorted(set(generations)) == generations


def test_leaf_non_blocking_stale(own_agent, speak):
    """Known hard bug: who only asks, and does not wait at the index, has an expired leaf for ever.

    The naive twin asks for a leaf until that has expired, and then once more.  Ours are renewed:
    the one we held, and the one the agent had in its memory when we came (consul#10871).
    """
    with own_agent.client() as client:
        short_lived(client, "63s")
        watch = speak(client).credentials("web")
        naive = client.get(path_of("late")).body
        ours = Seen(watch).until(lambda now: now.leaf.not_after > time.time())
        over = ours.leaf.not_after + 2
        while time.time() < over:
            again = client.get(path_of("late")).body
        assert naive["SerialNumber"] == again["SerialNumber"]
        assert speak(client).credentials("late").value.leaf.not_after > time.time()
        later = Seen(watch).until(lambda now: now.leaf.not_after > time.time())
    assert serial_of(ours) != serial_of(later)


def test_agents_that_renew_without_a_pause_are_paced(own_agent, speak):
    """Below ten minutes an agent renews as soon as it is asked: about one a second is taken."""
    with own_agent.client() as client:
        short_lived(client, "5m")
        began = time.monotonic()
        watch = speak(client).credentials("web")
        seen = Seen(watch)
        seen.until(lambda now: now.generation >= 6)
        assert time.monotonic() - began > 1.0


@contextmanager
def failing(match):
    """The error, which must come in time."""
    began = time.monotonic()
    with pytest.raises(IdentityUnavailable, match=match) as caught:
        yield caught
    assert time.monotonic() - began < 5.0


def test_an_agent_without_connect(consul_binary, short_folder, speak, events):
    """It is said what is wrong, and what to do."""
    config = {"server": True, "bootstrap_expect": 1, "connect": {"enabled": False}}
    agent = ConsulAgent(consul_binary, short_folder(), dev=False, config=config)
    with agent, agent.client() as client:
        with failing("Consul gives no certificate for web") as caught:
            speak(client).credentials("web")
    assert "Consul runs without Connect" in caught.value.why
    assert "connect { enabled = true }" in caught.value.hint
    assert events.of("connect-disabled")


def test_without_the_right(acl_agent, speak, events):
    """The missing right is named: `service:write`, of this service."""
    with acl_agent.client(acl_agent.token_for("other")) as client, failing("web") as caught:
        speak(client).credentials("web")
    assert "service:write on 'web'" in caught.value.why
    assert "web" == events.until("identity-denied")[1]


def test_with_the_right(acl_agent, speak):
    """A service identity is enough."""
    with acl_agent.client(acl_agent.token_for("web")) as client:
        assert speak(client).credentials("web").ready


def test_a_token_nobody_knows(acl_agent, speak):
    """It is told apart from a right that is missing."""
    with acl_agent.client("00000000-0000-0000-0000-00000000dead") as client:
        with failing("web") as caught:
            speak(client).credentials("web")
    assert "does not know the token" in caught.value.why


def test_a_token_that_is_deleted(acl_agent, speak):
    """What was issued stays good; what was not yet is refused, with the reason."""
    names = [{"ServiceName": each} for each in ("deleted-web", "deleted-api")]
    with acl_agent.client(acl_agent.master) as master:
        token = master.put("/v1/acl/token", {"ServiceIdentities": names}).body
        with acl_agent.client(token["SecretID"]) as client:
            watch = speak(client).credentials("deleted-web")
            before = watch.value
            master.delete(f"/v1/acl/token/{token['AccessorID']}")
            with failing("deleted-api") as caught:
                speak(client).credentials("deleted-api")
            assert before is watch.value
    assert "does not know the token" in caught.value.why


def test_nobody_at_the_address(own_agent, speak):
    """Within five seconds, with the address."""
    own_agent.kill()
    with own_agent.client() as client, failing("Consul gives no certificate for web") as caught:
        speak(client).credentials("web")
    assert str(own_agent.ports.http) in caught.value.why


def test_an_agent_that_stands_still(own_agent, speak):
    """Neither does it hang with the agent."""
    own_agent.freeze()
    try:
        with own_agent.client() as client, failing("did not answer|no root yet"):
            speak(client).credentials("web")
    finally:
        own_agent.thaw()


def test_it_can_be_asked_again(own_agent, speak):
    """A failure is not the last word: when the agent is back, so are identities."""
    own_agent.kill()
    with own_agent.client() as client:
        identity = speak(client)
        with failing("web"):
            identity.credentials("web")
        own_agent.start()
        assert identity.credentials("web").ready


def test_what_was_good_stays_good(own_agent, speak):
    """Without its agent a process keeps its certificate; with another Consul it takes that's."""
    with own_agent.client() as client:
        identity = speak(client)
        watch = identity.credentials("web")
        seen, old = Seen(watch), watch.value
        own_agent.kill()
        assert old is identity.credentials("web").value
        own_agent.start()
        new = seen.until(lambda now: now.leaf != old.leaf)
    assert [parse(new.leaf.spiffe_id).trust_domain] == list(new.bundles)


def test_a_clock_that_is_behind(client, speak, events, name):
    """A leaf of the future is used, as others may believe it, and the skew is named."""
    speak(client, now=lambda: time.time() - 3600).credentials(name)
    subject, text = events.until("clock-skew")[1:]
    assert (name, True) == (subject, "behind Consul's" in text)


def test_a_clock_that_is_ahead(client, speak, events, name):
    """A leaf that has expired when it comes is a matter of clocks."""
    with failing("has expired already") as caught:
        speak(client, now=lambda: time.time() + 100 * 3600).credentials(name)
    assert "NTP" in caught.value.hint
    assert name == events.until("clock-skew")[1]


def test_a_leaf_whose_time_is_over(own_agent, speak, events):
    """Once the agent is gone for too long it is said that nobody will talk to us."""
    with own_agent.client() as client:
        short_lived(client, "64s")
        watch = speak(client).credentials("web")
        own_agent.kill()
        subject, text = events.until("leaf-expired")[1:]
    assert ("web", True) == (subject, watch.value.leaf.spiffe_id in text)
    assert str(own_agent.ports.http) in watch.value.trouble
    assert watch.value.trouble in text
    assert 1 == len(events.of("leaf-expired"))


def test_a_leaf_that_is_not_renewed(client, speak, events, name):
    """When an agent has missed the time to renew it, that is said while there is time left."""
    late = speak(client, now=lambda: time.time() + 71 * 3600).credentials(name)
    assert late.value.leaf.spiffe_id in events.until("leaf-overdue")[2]
    assert not events.of("leaf-expired")


def test_everybody_at_once(own_agent, speak, events):
    """A fleet that starts at once waits for its turn with the CA, and is told that it does."""
    with own_agent.client() as client:
        config = client.get(SETTINGS).body["Config"]
        config["CSRMaxPerSecond"] = 2
        client.put(SETTINGS, {"Provider": "consul", "Config": config})
        identity, done = speak(client), []
        threads = [
            threading.Thread(target=lambda n=n: done.append(identity.credentials(f"web-{n}")))
            for n in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert 8 == len(done)
    assert events.of("identity-queued")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_follows_by_itself(own_agent, speak):
    """Both sides are renewed, over connections of their own."""
    with own_agent.client() as client:
        short_lived(client, "5m")
        watch = speak(client).credentials("web")
        told, tell = os.pipe()
        child = os.fork()
        old = watch.value.generation
        if child == 0:
            changed = threading.Event()
            watch.subscribe(lambda: watch.value.generation > old + 1 and changed.set())
            os.write(tell, b"new" if changed.wait(PATIENCE) else b"old")
            os._exit(0)
        Seen(watch).until(lambda now: now.generation > old + 1)
        assert b"new" == os.read(told, 100)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


def test_a_secondary_datacentre(federation, speak):
    """Its chain is sent as it came, with what Consul repeats in it; the id names the datacentre."""
    with federation.dc2.client() as client:
        identity = speak(client)
        value = identity.credentials("web").value
        body = client.get(path_of("web")).body
    assert body["CertPEM"].strip() == value.leaf.chain_pem.decode().strip()
    assert "/dc/dc2/" in value.leaf.spiffe_id
    with federation.dc1.client() as client:
        first = speak(client)
        ours = first.credentials("web").value
        assert list(ours.bundles) == list(value.bundles)
        assert value.leaf.spiffe_id == first.spiffe_id("web", "dc2")


def test_across_datacentres(federation):
    """A service elsewhere is expected by its id there, and by no other."""
    with Party(federation.dc2.address(), "db") as there, there.serving(who_calls) as port:
        with Party(federation.dc1.address(), "web") as here:
            trust = ClientTrust(here.credentials, here)
            peer = meet(trust(Target("db", datacenter="dc2"))[0], port)
            assert there.credentials.value.leaf.spiffe_id == str(peer.spiffe_id)
            with pytest.raises(PeerRejected, match="not who is expected"):
                meet(trust(Target("db"))[0], port)


def meet(context, port):
    """Who is there."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        with context.wrap_socket(sock) as tls:
            return peer_of(tls)


def test_first_is_in_time():
    """What is raised after the time for the first value is raised within five seconds."""
    assert FIRST < 5.0
