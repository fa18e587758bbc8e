"""
The deadline as `statement_timeout`, for psycopg 3.

    with within_deadline(connection):
        connection.execute("SELECT ...")

A statement that is cut raises `psycopg.errors.QueryCanceled`, and the transaction rolls back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from meshlib.drivers.allowance import milliseconds_left
from meshlib.drivers.statements import RESTORE, SHORTEN

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

_SHORTEN = SHORTEN.format(placeholder="%s")
_RESTORE = RESTORE.format(placeholder="%s")


@contextmanager
def within_deadline(connection: Connection[Any]) -> Iterator[None]:
    """Run the block in a transaction (or a savepoint) whose statements end with the deadline.

    Raises DeadlineExceeded if it has passed.
    """
    milliseconds = milliseconds_left("a query")
    with connection.transaction():
        if milliseconds is None:
            yield
            return
        before = connection.execute(_SHORTEN, [str(milliseconds)]).fetchone()
        yield
        if before is not None:
            connection.execute(_RESTORE, [before[0]])


@asynccontextmanager
async def within_deadline_async(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """The same for an asynchronous connection."""
    milliseconds = milliseconds_left("a query")
    async with connection.transaction():
        if milliseconds is None:
            yield
            return
        cursor = await connection.execute(_SHORTEN, [str(milliseconds)])
        before = await cursor.fetchone()
        yield
        if before is not None:
            await connection.execute(_RESTORE, [before[0]])
