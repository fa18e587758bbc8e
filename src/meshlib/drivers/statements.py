"""
`statement_timeout` of PostgreSQL, in one round trip.

It bounds each statement, not their sum: PostgreSQL measures from the statement's start.  A block
that runs several of them for long opens a new one before each.
"""

from __future__ import annotations

SHORTEN = """
    SELECT current_setting('statement_timeout'), set_config(
        'statement_timeout',
        least({placeholder}::bigint, nullif(
            (extract(epoch FROM current_setting('statement_timeout')::interval) * 1000)::bigint, 0
        ))::text || 'ms',
        true
    )
"""
"""Sets the timeout for the rest of the transaction, unless it is already shorter; 0 is for ever.
Returns what it was."""

RESTORE = "SELECT set_config('statement_timeout', {placeholder}, true)"
"""For a block within a transaction, as a savepoint that is released keeps its settings."""
