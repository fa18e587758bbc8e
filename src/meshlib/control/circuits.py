"""Circuits that move are worth a line in the log."""

from __future__ import annotations

import logging

from meshlib.policy.circuit import CircuitState
from meshlib.policy.tally import Counts

_log = logging.getLogger("meshlib.circuit")


class LoggedCircuits:
    """A `CircuitListener`."""

    def circuit_moved(
        self, name: str, before: CircuitState, after: CircuitState, counts: Counts
    ) -> None:
        """One line."""
        _log.warning(
            "%s: %s -> %s; of %d calls %d failed and %d were slow",
            name,
            before.value,
            after.value,
            *counts,
        )

    def circuit_refused(self, name: str) -> None:
        """Nothing: an open circuit refuses often."""
