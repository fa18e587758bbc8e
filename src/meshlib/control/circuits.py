"""Circuits that move are worth a line in the log, and an event."""

from __future__ import annotations

import logging

from meshlib.observe.events import Listener
from meshlib.policy.circuit import CircuitState
from meshlib.policy.tally import Counts

_log = logging.getLogger("meshlib.circuit")


class ToldCircuits:
    """A `CircuitListener` for the circuits of one service."""

    def __init__(self, service: str, listener: Listener | None) -> None:
        self._service, self._listener = service, listener

    def circuit_moved(
        self, name: str, before: CircuitState, after: CircuitState, counts: Counts
    ) -> None:
        """One line, and one event."""
        _log.warning(
            "%s: %s -> %s; of %d calls %d failed and %d were slow",
            name,
            before.value,
            after.value,
            *counts,
        )
        if self._listener is not None:
            method = name.removeprefix(f"{self._service} ")
            self._listener.circuit_moved(self._service, method, before.value, after.value)

    def circuit_refused(self, name: str) -> None:
        """Nothing: an open circuit refuses often, and each refused call tells of itself."""
