"""What the listener of the mesh is told of faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from meshlib.control.consul.faults import (
    BadRequest,
    ConnectDisabled,
    ConsulFault,
    NotAllowed,
    UnknownDatacenter,
)

Event: TypeAlias = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""

_KINDS: tuple[tuple[type[ConsulFault], str], ...] = (
    (NotAllowed, "not-allowed"),
    (UnknownDatacenter, "unknown-datacenter"),
    (ConnectDisabled, "connect-disabled"),
    (BadRequest, "refused"),
)


def unheard(kind: str, subject: str, text: str) -> None:
    """Nobody listens."""
    del kind, subject, text


class Told:
    """Tells each thing once, until it is over."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._last: dict[tuple[str, str], str] = {}

    def tell(self, kind: str, subject: str, text: str) -> None:
        """Tell it, unless that was the last thing told of this kind and subject."""
        if self._last.get((kind, subject)) != text:
            self._last[kind, subject] = text
            self._event(kind, subject, text)

    def fault(self, subject: str, fault: ConsulFault) -> bool:
        """Tell of a fault that somebody has to mend; whether it is one.

        That nobody answers, or there is no leader, is told by who finds the agent silent.
        """
        kind = next((kind for sort, kind in _KINDS if isinstance(fault, sort)), "")
        if kind:
            self.tell(kind, subject, str(fault))
        return bool(kind)

    def over(self, subject: str) -> None:
        """Whatever was told of a fault is over: the same is told again."""
        for _, kind in _KINDS:
            self._last.pop((kind, subject), None)
