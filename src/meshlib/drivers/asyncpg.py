"""
The deadline as `statement_timeout`, for asyncpg.

    async with within_deadline(connection):
        await connection.fetch("SELECT ...")

A statement that is cut raises `asyncpg.QueryCanceledError`, and the transaction rolls back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from meshlib.drivers.allowance import milliseconds_left
from meshlib.drivers.statements import RESTORE, SHORTEN

_SHORTEN = SHORTEN.format(placeholder="$1")
_RESTORE = RESTORE.format(placeholder="$1")


@asynccontextmanager
async def within_deadline(connection: Any) -> AsyncIterator[None]:
    """Run the block in a transaction (or a savepoint) whose statements end with the deadline.

    `connection` is an `asyncpg.Connection` or one of a pool.  Raises DeadlineExceeded if it has
    passed.
    """
    milliseconds = milliseconds_left("a query")
    async with connection.transaction():
        if milliseconds is None:
            yield
            return
        before = await connection.fetchval(_SHORTEN, milliseconds)
        yield
        await connection.fetchval(_RESTORE, before)
