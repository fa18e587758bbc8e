from __future__ import annotations

import pytest

from meshlib.config import SessionConfig, UpstreamConfig


@pytest.mark.parametrize(
    "config", [SessionConfig(cookie="sid"), SessionConfig(cookie="sid", ttl=60)]
)
def test_a_client_with_cookies_stays_where_it_was(client, serve, config):
    """The cookie goes into the client's own jar and leads back to the same server."""
    servers = [serve() for _ in range(3)]
    client.bind(*servers)
    client.upstream.configure(UpstreamConfig(session=config, balancer="round_robin"))
    client.request("GET", count=9)
    (used,) = (server for server in servers if server.requests)
    assert 9 == len(used.requests)
    cookies = [request.headers.get("cookie") for request in used.requests]
    assert cookies[0] is None
    assert 1 == len(set(cookies[1:]))
    assert cookies[1].startswith("sid=")


def test_a_header_names_the_server_to_who_asks(client, serve):
    """A caller that brings the header back gets the same server, another one gets the next."""
    servers = [serve() for _ in range(3)]
    client.bind(*servers)
    header = SessionConfig(header="X-Session")
    client.upstream.configure(UpstreamConfig(session=header, balancer="round_robin"))
    name = client.get().headers["x-session"]
    used = {id(server) for server in servers if server.requests}
    for _ in range(5):
        assert "x-session" not in client.get(headers={"x-session": name}).headers
    assert used == {id(server) for server in servers if server.requests}
    client.get()
    assert 2 == sum(bool(server.requests) for server in servers)
