"""The deadline as socket timeout, on a real Redis."""

from __future__ import annotations

import pytest

from meshlib.drivers.redis import ends_in_time
from meshlib.errors import DeadlineExceeded

redis = pytest.importorskip("redis")


@pytest.fixture
def client(redis_socket):
    pool = redis.ConnectionPool(
        connection_class=ends_in_time(redis.UnixDomainSocketConnection), path=redis_socket
    )
    with redis.Redis(connection_pool=pool) as made:
        yield made
    pool.disconnect()


def test_a_command_is_cut_at_the_deadline(client, within) -> None:
    """One that would block for ever ends, and the client goes on working."""
    within(0.2, real=True)
    with pytest.raises((redis.TimeoutError, DeadlineExceeded)):
        client.blpop("nothing", 0)
    within(60.0)
    assert client.set("key", "value")
    assert b"value" == client.get("key")


def test_after_the_deadline(client, within) -> None:
    """The server is not even asked."""
    assert client.ping()
    within(-1.0)
    with pytest.raises(DeadlineExceeded):
        client.ping()


def test_without_a_deadline(client) -> None:
    """Commands are as ever."""
    assert client.ping()
