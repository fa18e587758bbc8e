"""
`wait_for_ready`: an RPC that waits until somebody is there, as long as its timeout lets it.

To grpcio this is for its own channels, which in the mesh are ready before they are used; here it is
asked of the service.  Without a timeout the wait has no end, and with one it ends as
DEADLINE_EXCEEDED, as with grpcio.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from meshlib.errors import ConnectFailed, DeadlineExceeded, MeshError, NoEndpoint, NoRoute
from meshlib.model import Call

_NOBODY = (NoEndpoint, NoRoute, ConnectFailed)
_FIRST, _LONGEST = 0.02, 1.0
"""Seconds of the first pause and of the longest: each is twice the one before."""


def check_time(call: Call) -> None:
    """Raises DeadlineExceeded if an RPC was given no time at all."""
    if call.timeout is not None and call.timeout <= 0:
        raise DeadlineExceeded(
            f"{call.path} was not sent",
            why=f"its timeout is {call.timeout} s: no time at all",
            hint="give it more, or none for that of the service's configuration",
        )


class Patience:
    """Of one RPC.  `pause` says how long to wait after an error, None that it is the outcome."""

    def __init__(self, call: Call, now: float) -> None:
        self._patient = bool((call.native or {}).get("wait_for_ready"))
        self._began, self._until = now, inf if call.timeout is None else now + call.timeout
        self._pauses = _pauses()
        self._nobody: MeshError | None = None

    def pause(self, error: MeshError, now: float) -> float | None:
        """Seconds, or None."""
        if not self._patient or not isinstance(error, _NOBODY):
            return None
        self._nobody = error
        left = self._until - now
        return min(next(self._pauses), left) if left > 0 else None

    def outcome(self, error: MeshError) -> MeshError:
        """What the user is told: of a wait in vain, what was waited for."""
        waited, nobody = self._until - self._began, self._nobody
        if nobody is None or not isinstance(error, (*_NOBODY, DeadlineExceeded)):
            return error
        return DeadlineExceeded(
            f"nobody was there within {waited:g} s",
            elapsed=waited,
            why=f"{nobody.what}: {nobody.why}",
            hint=nobody.hint,
        )

    def again(self, call: Call, now: float) -> Call:
        """The same RPC anew, for what time is left."""
        return Call(
            service=call.service,
            method=call.method,
            path=call.path,
            headers=call.headers,
            body=call.body,
            timeout=None if call.timeout is None else max(self._until - now, 0.0),
            native=call.native,
            repeatable=call.repeatable,
            protocol=call.protocol,
        )


def _pauses() -> Iterator[float]:
    pause = _FIRST
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST)
