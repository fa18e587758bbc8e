"""The client against the real agent: reads, writes, waits, and each way they fail."""

from __future__ import annotations

import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from meshlib.control.consul import faults
from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.breaker import FAILURES
from meshlib.control.consul.http import ConsulClient, Interrupt
from meshlib.testing.consul import ConsulAgent

LEADER = "/v1/status/leader"
SLOTS = 200
"""limits.http_max_conns_per_client, by default."""


@pytest.fixture
def client_of():
    """Make clients that are closed in the end."""
    with ExitStack() as clients:

        def make(address, **options):
            client = ConsulClient(address, **options)
            clients.callback(client.close)
            return client

        yield make


@pytest.fixture
def waiting(client, name):
    """A blocking query on a key that is under way; returns its future, and an interrupt."""
    client.put(f"/v1/kv/{name}", b"1")
    index = client.get(f"/v1/kv/{name}").index
    with ThreadPoolExecutor(1) as pool:

        def wait(seconds=20.0):
            interrupt = Interrupt()
            future = pool.submit(
                client.wait,
                f"/v1/kv/{name}",
                index=index,
                seconds=seconds,
                interrupt=interrupt,
            )
            return future, interrupt

        yield wait


# ---- reads and writes


def test_a_key_is_written_read_and_removed(client, name):
    """JSON in, JSON out; compare-and-set says whether it was done."""
    path = f"/v1/kv/{name}"
    assert client.put(path, {"a": 1}, cas="0").body is True
    assert client.put(path, {"a": 2}, cas="0").body is False
    assert b'{"a": 1}' == client.get(path, raw=None).body
    assert client.get(path).index > 0
    client.delete(path)
    with pytest.raises(faults.NotThere) as caught:
        client.get(path)
    assert caught.value.index > 0


def test_a_cached_read_says_so(client, name):
    """`cached=True` is answered by the agent itself, with an age."""
    path = f"/v1/health/service/{name}"
    client.get(path, cached=True)
    second = client.get(path, cached=True)
    assert second.from_cache
    assert second.age >= 0.0
    assert not client.get(path, stale=True).from_cache


def test_short_requests_share_a_connection(client, name):
    """One after the other they need one connection, whatever their outcome."""
    for _ in range(5):
        client.put(f"/v1/kv/{name}", b"x")
        with pytest.raises(faults.NotThere):
            client.get(f"/v1/kv/{name}-other")
    assert 1 == client.connections


def test_a_datacentre_is_never_added_to_the_agents_own_endpoints(dev_agent, client_of, name):
    """With `dc` in the address reads go there; a leaf for another datacentre is not made."""
    client = client_of(dev_agent.address(datacenter="nowhere"))
    with pytest.raises(faults.UnknownDatacenter, match="nowhere"):
        client.get(f"/v1/health/service/{name}")
    leaf = client.get(f"/v1/agent/connect/ca/leaf/{name}").body
    assert f"/dc/dc1/svc/{name}" in leaf["ServiceURI"]


def test_another_datacentre_is_asked_by_name(federation, client_of):
    """`dc` reaches across the WAN; an empty one means the agent's own."""
    client = client_of(federation.dc1.address())

    def nodes(dc):
        return [node["Node"] for node in client.get("/v1/catalog/nodes", dc=dc).body]

    assert ["dc2-server"] == nodes("dc2")
    assert ["dc1-server"] == nodes("")


# ---- ways in


def test_a_unix_socket_is_a_way_in(dev_agent, client_of):
    """consul+unix:// speaks to the same agent."""
    client = client_of(ConsulAddress.parse(f"consul+unix://{dev_agent.socket}", {}))
    assert f"127.0.0.1:{dev_agent.ports.server}" == client.get(LEADER).body


def test_no_socket_is_said(client_of, tmp_path):
    """A socket that does not exist is an error that names it."""
    client = client_of(ConsulAddress.parse(f"consul+unix://{tmp_path}/none.sock", {}))
    with pytest.raises(faults.AgentUnreachable, match=r"there is no socket .*none\.sock"):
        client.get(LEADER)


def test_https_with_a_client_certificate(https_agent, client_of):
    """With CA, certificate and key, requests and waits work over HTTPS."""
    client = client_of(https_agent.address())
    roots = client.get("/v1/agent/connect/ca/roots")
    assert roots.body["TrustDomain"].endswith(".consul")
    waited = client.wait("/v1/agent/connect/ca/roots", index=roots.index, seconds=0.05)
    assert roots.index == waited.index


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"cert_file": None, "key_file": None}, "client certificate"),
        ({"ca_file": None}, "ca_file"),
        ({"server_name": "somebody.else"}, "server_name"),
    ],
)
def test_https_without_what_it_needs(https_agent, client_of, given, hint):
    """What is missing of certificate, CA or name is what the hint is about."""
    files = {"ca_file": https_agent.ca_file}
    files |= {"cert_file": https_agent.cert_file, "key_file": https_agent.key_file}
    client = client_of(ConsulAddress.parse(https_agent.url, {}, **{**files, **given}))
    with pytest.raises(faults.TlsFailed) as caught:
        client.get(LEADER)
    assert hint in caught.value.hint


def test_http_to_an_https_port(https_agent, client_of):
    """The hint is to write consul+https://."""
    url = https_agent.url.replace("+https", "")
    with pytest.raises(faults.ConsulFault) as caught:
        client_of(ConsulAddress.parse(url, {})).get(LEADER)
    assert "consul+https://" in caught.value.hint


def test_https_to_an_http_port(dev_agent, client_of):
    """The hint is to write consul://."""
    url = dev_agent.url.replace("consul:", "consul+https:")
    with pytest.raises(faults.TlsFailed) as caught:
        client_of(ConsulAddress.parse(url, {})).get(LEADER)
    assert "consul://" in caught.value.hint


# ---- rights


def test_an_unknown_token(acl_agent, client_of, name):
    """ACL not found: the token is not known, which is not a missing right."""
    client = client_of(acl_agent.agent.address(token="99999999-2222-3333-4444-555555555555"))
    with pytest.raises(faults.NotAllowed, match="does not know the token"):
        client.get(f"/v1/discovery-chain/{name}")


def test_a_missing_right_is_named(acl_agent, name):
    """A token of one service may not register, identify as or route another: each is said."""
    with acl_agent.client(acl_agent.token_for(name)) as client:
        client.put("/v1/agent/service/register", {"Name": name})
        for ask in (
            lambda: client.put("/v1/agent/service/register", {"Name": "other"}),
            lambda: client.get("/v1/agent/connect/ca/leaf/other"),
            lambda: client.put("/v1/config", {"Kind": "service-resolver", "Name": "other"}),
        ):
            with pytest.raises(faults.NotAllowed, match="service:write on 'other'"):
                ask()
        with pytest.raises(faults.NotAllowed, match="key:write on 'a/b'"):
            client.put("/v1/kv/a/b", b"")


def test_a_token_is_in_no_message(acl_agent, caplog):
    """Neither repr nor fault nor log shows it."""
    secret = acl_agent.token_with("")
    caplog.set_level(logging.DEBUG)
    with acl_agent.client(secret) as client:
        with pytest.raises(faults.NotAllowed) as caught:
            client.put("/v1/kv/a", b"")
        shown = [repr(client), repr(client.address), str(caught.value), repr(caught.value)]
    assert secret not in "".join([*shown, caplog.text])


# ---- servers in trouble


def test_servers_without_a_leader(consul_binary, short_folder, client_of):
    """One of three servers alone: there is no leader, and that is what is said."""
    config = {"server": True, "bootstrap_expect": 3}
    agent = ConsulAgent(consul_binary, short_folder(), dev=False, config=config)
    with agent.start(until="Started HTTP server"):
        with pytest.raises(faults.NoLeader):
            client_of(agent.address()).get("/v1/catalog/nodes")


def test_servers_without_connect(consul_binary, short_folder, client_of, name):
    """Without Connect there are no identities, and the fault says which switch it is."""
    config = {"connect": {"enabled": False}}
    agent = ConsulAgent(consul_binary, short_folder(), dev=False, config=config)
    agent.config |= {"server": True, "bootstrap_expect": 1}
    with agent:
        client = client_of(agent.address())
        for path in ("/v1/agent/connect/ca/roots", f"/v1/agent/connect/ca/leaf/{name}"):
            with pytest.raises(faults.ConnectDisabled, match="enabled = true"):
                client.get(path)


def test_bad_requests(client):
    """What makes no sense is a BadRequest with Consul's own words."""
    with pytest.raises(faults.BadRequest, match="Colour"):
        client.put("/v1/agent/service/register", {"Name": "a", "Colour": "red"})


# ---- waits


def test_a_wait_ends_with_a_change(client, name, waiting):
    """A write is what a blocking query waits for; its index is newer."""
    before = client.get(f"/v1/kv/{name}").index
    future, _ = waiting()
    client.put(f"/v1/kv/{name}", b"2")
    assert future.result().index > before


def test_a_wait_ends_by_itself(client, name, waiting):
    """Without a change the index is the same."""
    before = client.get(f"/v1/kv/{name}").index
    future, _ = waiting(seconds=0.05)
    assert before == future.result().index


def test_one_can_wait_for_what_is_not_there(client, name):
    """A key that does not exist is an answer with status 404, and an index to wait from."""
    missing = client.wait(f"/v1/kv/{name}", index=0)
    assert (404, None) == (missing.status, missing.body)
    client.put(f"/v1/kv/{name}", b"x")
    assert 200 == client.wait(f"/v1/kv/{name}", index=missing.index).status


def test_an_interrupt_ends_one_wait(client, waiting):
    """Its wait is cut short and short requests go on; the breaker does not count it."""
    for _ in range(FAILURES + 1):
        future, interrupt = waiting()
        interrupt.set()
        with pytest.raises(faults.CutShort):
            future.result()
    assert "closed" == client.breaker.state
    assert client.get(LEADER).body


def test_an_interrupt_may_come_first(client, name):
    """Set before the wait begins, it ends it all the same."""
    interrupt = Interrupt()
    interrupt.set()
    with pytest.raises(faults.CutShort):
        client.wait(f"/v1/kv/{name}", index=1_000_000, interrupt=interrupt)


@pytest.mark.parametrize("when", ["before", "after"])
def test_close_ends_all_waits(client, waiting, when):
    """Who waits when the client is closed, or asks afterwards, is cut short at once."""
    if when == "before":
        client.close()
    future, _ = waiting()
    if when == "after":
        client.close()
    with pytest.raises(faults.CutShort):
        future.result()
    assert 0 == client.connections


def test_a_wait_over_https_is_interrupted_too(https_agent, client_of, name):
    """TLS does not keep a wait from being cut."""
    client, interrupt = client_of(https_agent.address()), Interrupt()
    index = client.wait(f"/v1/kv/{name}", index=0).index
    threading.Timer(0.05, interrupt.set).start()
    with pytest.raises(faults.CutShort):
        client.wait(f"/v1/kv/{name}", index=index, interrupt=interrupt)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_connections_behind(client, waiting):
    """Parent and child never speak on one connection: the child begins with none."""
    future, interrupt = waiting()
    client.get(LEADER)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, f"{client.connections} {client.get(LEADER).status}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"0 200" == os.read(told, 100)
    os.close(told)
    os.close(tell)
    assert client.get(LEADER).body
    interrupt.set()
    with pytest.raises(faults.CutShort):
        future.result()


# ---- agents in trouble


def test_an_agent_that_is_gone_and_comes_back(own_agent, client_of):
    """Refused at once; after five failures the breaker opens, and a probe finds it back."""
    moves, clock = [], [0.0]

    def moved(before, after):
        moves.append((before, after))

    client = client_of(own_agent.address(), moved=moved, clock=lambda: clock[0])
    client.get(LEADER)
    own_agent.kill()
    for _ in range(FAILURES + 3):
        with pytest.raises(faults.AgentUnreachable, match=r"nobody listens|without an answer"):
            client.get(LEADER)
    assert [("closed", "open")] == moves
    own_agent.start()
    clock[0] += 10.0
    assert client.get(LEADER).body
    assert [("open", "half-open"), ("half-open", "closed")] == moves[1:]


def test_an_agent_restarted_between_two_requests(own_agent, client_of):
    """A kept connection that the agent has closed is noticed, also before a write."""
    client = client_of(own_agent.address())
    client.get(LEADER)
    own_agent.restart()
    assert client.put("/v1/kv/a", b"x").body is True


def test_a_frozen_agent_is_not_waited_for(own_agent, client_of):
    """Requests end by their own time-out; thawed, it answers again."""
    client = client_of(own_agent.address())
    own_agent.freeze()
    with pytest.raises(faults.AgentUnreachable) as caught:
        client.get(LEADER, timeout=0.2)
    assert caught.value.timed_out
    own_agent.thaw()
    assert client.get(LEADER).body


def test_the_kill_of_an_agent_ends_its_waits(own_agent, client_of):
    """A blocked query dies with its agent."""
    client = client_of(own_agent.address())
    index = client.wait("/v1/kv/a", index=0).index
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.wait, "/v1/kv/a", index=index)
        own_agent.kill()
        with pytest.raises(faults.AgentUnreachable):
            future.result()


def test_the_limit_of_connections_is_named(own_agent, client_of):
    """The agent hangs up on the 201st connection; the fault says which limit that may be."""
    client = client_of(own_agent.address())
    with ExitStack() as held:
        for _ in range(SLOTS):
            place = ("127.0.0.1", own_agent.ports.http)
            sock = held.enter_context(socket.create_connection(place))
            sock.sendall(b"GET /v1/status/leader HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(1)
        with pytest.raises(faults.AgentUnreachable) as caught:
            client.get(LEADER)
        assert "http_max_conns_per_client" in caught.value.hint
