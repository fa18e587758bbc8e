"""What a careless program, or one that passes on what others sent it, may do to a client."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

PIECES = [b"x" * 10, b"GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n"]
WHOLE = b"".join(PIECES)


@pytest.mark.parametrize("said", ["10", str(len(WHOLE) + 1), "", "-1", "1e3", "+49"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_of_another_length_than_it_says(client, serve, said, streamed) -> None:
    """The user's own error; the peer never reads the rest as a request, and nobody waits for it."""
    server = serve()
    client.bind(server)
    content = client.stream(PIECES) if streamed else WHOLE
    with pytest.raises(client.module.LocalProtocolError, match="Content-Length"):
        client.request("POST", content=content, headers={"content-length": said})
    assert 200 == client.get().status_code
    assert [] == [each.line for each in server.requests if "smuggled" in each.line]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_transfer_encoding_of_the_users(client, serve, streamed) -> None:
    """The engine frames the body, whatever the headers that were passed on say."""
    server = serve()
    client.bind(server)
    content = client.stream(PIECES) if streamed else WHOLE
    headers = {"transfer-encoding": "chunked"}
    assert 200 == client.request("POST", content=content, headers=headers).status_code
    assert [WHOLE] == [each.body for each in server.requests]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_of_cancellations(client, serve, seed) -> None:
    """480 requests cancelled at some moment leave a client that works and an empty balance."""
    if client.new_loop is None:
        pytest.skip("threads cannot be cancelled")
    client.bind(serve(), serve())
    rng = random.Random(seed)

    async def one(http) -> None:
        try:
            async with asyncio.timeout(rng.random() * 0.12):
                await http.get("http://shop/")
        except TimeoutError:
            pass

    async def main() -> list[int]:
        async with client.make() as http:
            await http.get("http://shop/")
            await asyncio.gather(*(one(http) for _ in range(480)))
            replies = await asyncio.gather(*(http.get("http://shop/") for _ in range(20)))
            return [reply.status_code for reply in replies]

    assert [200] * 20 == client.run(main())
    assert 0 == client.pending


def test_a_connection_that_is_reset_says_so_once(client, serve, caplog) -> None:
    """Who waits for the reply is told; asyncio logs no forgotten error besides."""
    server = serve()
    client.bind(server)

    def reset(request, connection) -> bool:
        connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of nothing: RST
        return False

    server.answer = reset
    with pytest.raises(client.module.NetworkError):
        client.request("POST", content=b"x")
    gc.collect()
    assert [] == [each.message for each in caplog.records if each.name == "asyncio"]
