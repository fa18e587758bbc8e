"""What the gate tells: to the caller, to the log and to the listener."""

from __future__ import annotations

import logging
from typing import NamedTuple

from meshlib.errors import MeshError
from meshlib.observe.events import Listener
from meshlib.policy.shared import SharedRates

_log = logging.getLogger("meshlib.limits")


class Turned(NamedTuple):
    """The answer to a request that is turned away."""

    status: int
    reason: str
    headers: list[tuple[str, str]]


class Told:
    """Speaks for the gate of `service`; a listener need not be there."""

    __slots__ = ("_listener", "_service")

    def __init__(self, service: str, listener: Listener | None) -> None:
        self._service, self._listener = service, listener

    def turned(self, by: str, turned: Turned) -> Turned:
        """A request gets this answer."""
        if self._listener is not None:
            self._listener.request_refused(self._service, by, turned.status)
        return turned

    def store_failed(self, rates: SharedRates, cause: MeshError) -> None:
        """The store of the shared rates did not answer."""
        if rates.failed():
            _log.warning("%s (%s); on failure: %s", cause.what, cause.why, rates.config.on_failure)
            self._counting(alone=True)

    def store_answered(self, rates: SharedRates) -> None:
        """It did."""
        if rates.answered():
            _log.warning("the shared rate limits are counted together again")
            self._counting(alone=False)

    def _counting(self, *, alone: bool) -> None:
        if self._listener is not None:
            self._listener.rates_counted(self._service, alone=alone)
