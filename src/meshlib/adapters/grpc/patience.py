"""
`wait_for_ready`: an RPC that waits until somebody is there, as long as its timeout lets it.

To grpcio this is for its own channels, which in the mesh are ready before they are used; here it is
asked of the service.  Without a timeout the wait has no end, as with grpcio.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from meshlib.errors import ConnectFailed, NoEndpoint, NoRoute
from meshlib.model import Call

_NOBODY = (NoEndpoint, NoRoute, ConnectFailed)
_FIRST, _LONGEST = 0.02, 1.0
"""Seconds of the first pause and of the longest: each is twice the one before."""


class Patience:
    """Of one RPC.  `pause` says how long to wait after an error, None that it is the outcome."""

    def __init__(self, call: Call, now: float) -> None:
        self._patient = bool((call.native or {}).get("wait_for_ready"))
        self._until = inf if call.timeout is None else now + call.timeout
        self._pauses = _pauses()

    def pause(self, error: BaseException, now: float) -> float | None:
        """Seconds, or None."""
        if not self._patient or not isinstance(error, _NOBODY):
            return None
        pause = next(self._pauses)
        return pause if now + pause < self._until else None

    def again(self, call: Call, now: float) -> Call:
        """The same RPC anew, for what time is left."""
        return Call(
            service=call.service,
            method=call.method,
            path=call.path,
            headers=call.headers,
            body=call.body,
            timeout=None if call.timeout is None else self._until - now,
            native=call.native,
            repeatable=call.repeatable,
        )


def _pauses() -> Iterator[float]:
    pause = _FIRST
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST)
