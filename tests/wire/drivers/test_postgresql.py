"""The deadline as statement_timeout, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from meshlib.drivers import asyncpg as for_asyncpg
from meshlib.drivers.psycopg import within_deadline, within_deadline_async
from meshlib.errors import DeadlineExceeded

psycopg = pytest.importorskip("psycopg")

SHOW = "SHOW statement_timeout"
SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture
def connection(postgres):
    with psycopg.connect(host=str(postgres), user="postgres", autocommit=True) as made:
        yield made


def shown(connection):
    return connection.execute(SHOW).fetchone()[0]


def test_a_statement_is_cut_at_the_deadline(connection, within) -> None:
    """The server stops working on it, and the connection is as good as before."""
    within(0.2, real=True)
    with pytest.raises(psycopg.errors.QueryCanceled), within_deadline(connection):
        connection.execute(SLEEP)
    assert "0" == shown(connection)


def test_the_timeout_is_the_time_left(connection, within) -> None:
    """In milliseconds, for the block and no longer."""
    within(5.5)
    with within_deadline(connection):
        assert "5500ms" == shown(connection)
    assert "0" == shown(connection)


@pytest.mark.parametrize(("own", "shows"), [("3s", "3s"), ("1min", "5500ms"), ("100ms", "100ms")])
def test_a_shorter_timeout_of_the_connections_own_stays(connection, within, own, shows) -> None:
    """The deadline cuts, it does not stretch."""
    connection.execute(f"SET statement_timeout = '{own}'")
    within(5.5)
    with within_deadline(connection):
        assert shows == shown(connection)
    assert own == shown(connection)


def test_within_a_transaction_of_the_users(connection, within) -> None:
    """The block is a savepoint, and what comes after it in the transaction is as before."""
    within(5.5)
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = '9s'")
        with within_deadline(connection):
            assert "5500ms" == shown(connection)
        assert "9s" == shown(connection)


def test_without_a_deadline(connection) -> None:
    """Nothing is set."""
    with within_deadline(connection):
        assert "0" == shown(connection)


def test_after_the_deadline(connection, within) -> None:
    """The server is not even asked."""
    within(-1.0)
    with pytest.raises(DeadlineExceeded), within_deadline(connection):
        pytest.fail("it is too late")


def test_asynchronous_psycopg(postgres, within) -> None:
    """The same through AsyncConnection."""

    async def main():
        connect = psycopg.AsyncConnection.connect
        async with await connect(host=str(postgres), user="postgres") as connection:
            within(5.5)
            async with within_deadline_async(connection):
                first = await (await connection.execute(SHOW)).fetchone()
            within(0.2, real=True)
            with pytest.raises(psycopg.errors.QueryCanceled):
                async with within_deadline_async(connection):
                    await connection.execute(SLEEP)
            last = await (await connection.execute(SHOW)).fetchone()
            return first[0], last[0]

    assert ("5500ms", "0") == asyncio.run(main())


def test_asyncpg(postgres, within) -> None:
    """The same through asyncpg, whose savepoints are restored too."""
    asyncpg = pytest.importorskip("asyncpg")

    async def main():
        connection = await asyncpg.connect(host=str(postgres), user="postgres")
        try:
            within(5.5)
            seen = []
            async with connection.transaction():
                async with for_asyncpg.within_deadline(connection):
                    seen.append(await connection.fetchval(SHOW))
                seen.append(await connection.fetchval(SHOW))
            within(0.2, real=True)
            with pytest.raises(asyncpg.QueryCanceledError):
                async with for_asyncpg.within_deadline(connection):
                    await connection.execute(SLEEP)
            seen.append(await connection.fetchval(SHOW))
            return seen
        finally:
            await connection.close()

    assert ["5500ms", "0", "0"] == asyncio.run(main())
