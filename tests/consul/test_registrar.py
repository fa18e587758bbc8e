"""Registrations against a real agent."""

from __future__ import annotations

import os

import pytest

from meshlib.control.consul.faults import BadRequest, NotAllowed
from meshlib.control.consul.http import ConsulClient
from meshlib.control.consul.registrar import ConsulRegistrar
from meshlib.control.registry import Registration
from meshlib.errors import ConfigError
from meshlib.model import Locality


@pytest.fixture
def events():
    """What was told."""
    return []


@pytest.fixture
def registrar(client, events):
    """Beats only when told to."""
    made = ConsulRegistrar(
        client, event=lambda kind, subject, text: events.append((kind, text)), threaded=False
    )
    yield made
    made.close()


def one(name: str, **more) -> Registration:
    """An instance."""
    given = {"service": name, "id": f"{name}-1", "host": "127.0.0.1", "port": 8080, **more}
    return Registration(**given)


def entries(client, name: str) -> list[dict]:
    """The instances of a service, as those who call it see them."""
    return client.get(f"/v1/health/connect/{name}").body


def passing(client, name: str) -> list[str]:
    """Those of them that get traffic."""
    return [
        each["Service"]["ID"]
        for each in client.get(f"/v1/health/connect/{name}", passing=True).body
    ]


def test_a_registration_says_everything(registrar, client, name):
    """Address, weight, version, zone; native, and alive at once."""
    locality = Locality("eu", "a")
    registrar.register(one(name, weight=7, locality=locality, meta={"version": "v1"}))
    (entry,) = entries(client, name)
    service = entry["Service"]
    assert ("127.0.0.1", 8080) == (service["Address"], service["Port"])
    assert 7 == service["Weights"]["Passing"]
    assert {"version": "v1", "region": "eu", "zone": "a"} == service["Meta"]
    assert {"meshlib", "v1"} == set(service["Tags"])
    assert service["Connect"]["Native"]
    assert [f"{name}-1"] == passing(client, name)


def test_a_sick_instance_gets_no_traffic(registrar, client, name):
    """Until it says that it is well, with the note for who looks."""
    lease = registrar.register(one(name))
    lease.healthy(passing=False, note="no database")
    assert [] == passing(client, name)
    assert "no database" in str(entries(client, name))
    lease.healthy(passing=True)
    assert [f"{name}-1"] == passing(client, name)


def test_draining_is_maintenance(registrar, client, name):
    """It is known still, and heartbeats do not bring it back."""
    lease = registrar.register(one(name))
    lease.drain()
    registrar.beat_once()
    assert [] == passing(client, name)
    assert 1 == len(entries(client, name))
    lease.close()
    assert [] == entries(client, name)
    lease.close()


class Looking(ConsulClient):
    """After whatever it writes it looks who gets traffic."""

    def put(self, path, body=None, **more):
        answer = super().put(path, body, **more)
        self.seen.append(passing(self, self.service))
        return answer


def test_who_drains_gets_no_traffic_in_between(dev_agent, name):
    """Not even while it is registered anew: found by hand with maintenance after passing."""
    client = Looking(dev_agent.address())
    client.seen, client.service = [], name
    registrar = ConsulRegistrar(client, event=lambda *_: None, threaded=False)
    lease = registrar.register(one(name))
    lease.drain()
    client.seen.clear()
    client.put(f"/v1/agent/service/deregister/{name}-1")
    registrar.beat_once()
    assert 4 == len(client.seen)
    assert not any(client.seen)
    registrar.close()
    client.close()


def test_draining_is_one_word_and_said_once(dev_agent, name):
    """Whoever watches is woken for it at once, and not again with each heartbeat."""
    client = Looking(dev_agent.address())
    client.seen, client.service = [], name
    registrar = ConsulRegistrar(client, event=lambda *_: None, threaded=False)
    lease = registrar.register(one(name))
    client.seen.clear()
    lease.drain()
    assert [[], []] == client.seen
    index = client.get(f"/v1/health/connect/{name}").index
    registrar.beat_once()
    assert 3 == len(client.seen)
    assert index == client.get(f"/v1/health/connect/{name}").index
    registrar.close()
    client.close()


def test_a_weight_of_zero_is_maintenance(registrar, client, name):
    """Consul refuses a weight of zero; the instance gets no traffic all the same."""
    registrar.register(one(name, weight=0))
    assert [] == passing(client, name)
    assert 1 == len(entries(client, name))


@pytest.mark.parametrize("what", ["service/deregister", "check/deregister"])
def test_what_the_agent_lost_is_registered_anew(registrar, client, name, what):
    """With the next heartbeat, whether the service or only its check is gone."""
    lease = registrar.register(one(name))
    lease.healthy(passing=True)
    id_ = f"{name}-1" if what.startswith("service") else f"meshlib:{name}-1"
    client.put(f"/v1/agent/{what}/{id_}")
    registrar.beat_once()
    assert [f"{name}-1"] == passing(client, name)
    assert 1 == len([c for c in entries(client, name)[0]["Checks"] if "meshlib" in c["CheckID"]])


def test_a_drained_instance_stays_drained_when_registered_anew(registrar, client, name):
    """The agent's memory is not the lease's."""
    registrar.register(one(name)).drain()
    client.put(f"/v1/agent/service/deregister/{name}-1")
    registrar.beat_once()
    assert 1 == len(entries(client, name))
    assert [] == passing(client, name)


def test_an_agent_that_forgot_everything_hears_it_again(own_agent, events, name):
    """A dev agent keeps nothing over a restart; the worker does it by itself."""
    with own_agent.client() as client, own_agent.client() as onlooker:
        registrar = ConsulRegistrar(
            client, event=lambda kind, subject, text: events.append((kind, subject)), ttl=0.9
        )
        registrar.register(one(name))
        own_agent.kill()
        lease = registrar.register(one(name, id="late"))
        assert ("heartbeat-lost", name) in events
        own_agent.start()
        index, there = 0, set()
        while there != {f"{name}-1", "late"}:
            answer = onlooker.wait(f"/v1/health/connect/{name}", index=index, passing=True)
            index, there = answer.index, {each["Service"]["ID"] for each in answer.body}
        lease.close()
        registrar.close()
        assert [] == entries(onlooker, name)


def in_a_child(work) -> None:
    """Do it in a forked process, and wait for that."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert 0 == os.waitpid(child, 0)[1]


def test_a_forked_child_leaves_the_instance_alone(registrar, client, name):
    """Unless it adopts it, as the one that serves from then on."""
    lease = registrar.register(one(name))

    def meddle():
        lease.healthy(passing=False)
        lease.drain()
        lease.close()

    in_a_child(meddle)
    assert [f"{name}-1"] == passing(client, name)

    def take_over():
        lease.adopt()
        lease.close()

    in_a_child(take_over)
    assert [] == entries(client, name)


def test_a_token_without_rights_is_named(acl_agent, events):
    """At once, with the right that is missing; it is not tried for ever."""
    token = acl_agent.token_for("other")
    with acl_agent.client(token=token) as client:
        registrar = ConsulRegistrar(client, event=lambda *_: None, threaded=False)
        with pytest.raises(NotAllowed, match="service:write"):
            registrar.register(one("mine"))
        assert registrar.beat_once() > 0


def test_bad_registrations_never_reach_consul(registrar):
    """They are told with the field."""
    with pytest.raises(ConfigError, match=r"registration\.port"):
        registrar.register(one("shop", port=0))


def test_what_consul_refuses_is_told(registrar, name):
    """For instance metadata it has no room for."""
    with pytest.raises(BadRequest, match="Service Meta"):
        registrar.register(one(name, meta={"k": "v" * 600}))
