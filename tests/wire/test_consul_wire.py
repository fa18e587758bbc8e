"""The Consul client against agents that misbehave on the wire as no real one would on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from meshlib.control.consul import faults
from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.breaker import FAILURES
from meshlib.control.consul.http import ConsulClient

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"


@pytest.fixture
def scripted() -> Iterator[Callable[..., ConsulClient]]:
    """A client of an agent that says these things, one a request; None: it hangs up.

    A list is what it says on one connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connections):
            for replies in connections:
                connection, _ = server.accept()
                with connection:
                    for reply in replies:
                        connection.recv(65536)
                        if reply is None:
                            break
                        connection.sendall(reply)
                    else:
                        connection.recv(65536)

        clients, threads = [], []

        def make(*connections):
            threads.append(threading.Thread(target=serve, args=(connections,)))
            threads[-1].start()
            url = f"consul://127.0.0.1:{server.getsockname()[1]}"
            clients.append(ConsulClient(ConsulAddress.parse(url, {})))
            return clients[-1]

        yield make
        for client in clients:
            client.close()
        for thread in threads:
            thread.join()


def test_something_else_than_http(scripted):
    """A port that speaks no HTTP is said to be no agent's."""
    client = scripted([b"SSH-2.0-OpenSSH_9.2\r\n"])
    with pytest.raises(faults.AgentUnreachable) as caught:
        client.get("/v1/status/leader")
    assert "HTTP port" in caught.value.hint


def test_something_else_than_json(scripted):
    """An answer that claims to be JSON and is not is trouble, not a crash."""
    client = scripted([OK.replace(b"true", b"tru{")])
    with pytest.raises(faults.ServerTrouble, match="what is no JSON"):
        client.get("/v1/status/leader")


def test_half_an_answer(scripted):
    """A body that ends early is an agent that went away."""
    client = scripted([OK[:-2], None])
    with pytest.raises(faults.AgentUnreachable):
        client.get("/v1/status/leader", timeout=0.2)


def test_a_read_on_a_connection_closed_in_that_moment_is_repeated(scripted):
    """The agent hangs up on a kept connection when it is asked: reads ask again, on a new one."""
    client = scripted([OK, None], [OK])
    assert client.get("/v1/a").body is True
    assert client.get("/v1/a").body is True


def test_a_write_is_not_repeated(scripted):
    """It may have been done: that it is not known is a fault."""
    client = scripted([OK, None])
    assert client.get("/v1/a").body is True
    with pytest.raises(faults.AgentUnreachable):
        client.put("/v1/a", b"x")


@pytest.mark.parametrize(("cached", "state"), [(True, "open"), (False, "closed")])
def test_who_is_to_blame_for_silence(scripted, cached, state):
    """What an agent answers from its memory it must answer; for the rest it may wait for servers.

    The breaker counts the first kind of silence only.
    """
    client = scripted(*[[b""]] * FAILURES)
    for _ in range(FAILURES):
        with pytest.raises(faults.AgentUnreachable):
            client.get("/v1/a", cached=cached, timeout=0.02)
    assert state == client.breaker.state


def test_no_more_connections_are_kept_than_needed(scripted):
    """Of many at the same time two are kept."""
    client = scripted(*[[OK]] * 6)
    together = threading.Barrier(6)

    def ask():
        with client._wires.lend(waits=False) as wire:
            wire.prepare(5.0)
            together.wait()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == client.connections


def test_what_comes_back_to_a_closed_client_is_closed(scripted):
    """A connection that was lent when the client was closed is not kept."""
    client = scripted()
    with client._wires.lend(waits=False):
        client.close()
    assert 0 == client.connections


def test_what_was_filtered_is_known(scripted):
    """Servers from 1.11 on say when rights have shortened a list."""
    header = b"X-Consul-Results-Filtered-By-ACLs: true\r\nContent-Length"
    client = scripted([OK.replace(b"Content-Length", header), OK])
    assert client.get("/v1/a").filtered
    assert not client.get("/v1/a").filtered
