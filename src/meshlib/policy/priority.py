"""
How urgent a request is, and how that travels.

Priorities are RFC 9218's urgencies: 0 is the most urgent, 7 the least, 3 when nobody says.  What a
verified peer of the mesh says of a request holds for all calls that serving it causes; what anybody
else says is not heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

HEADER = "x-mesh-priority"
ORDINARY = 3
LEAST_URGENT = 7

_current: ContextVar[int] = ContextVar("meshlib.priority", default=ORDINARY)


def current_priority() -> int:
    """The priority of calls made here."""
    return _current.get()


@contextmanager
def priority(level: int) -> Iterator[None]:
    """Make calls at this priority, in this task or thread.  Raises ValueError outside 0..7."""
    if not 0 <= level <= LEAST_URGENT:
        message = f"expected a priority 0..{LEAST_URGENT}, got {level}"
        raise ValueError(message)
    token = _current.set(level)
    try:
        yield
    finally:
        _current.reset(token)


def adopt(level: int) -> Token[int] | None:
    """Serve at this priority until `leave` is called with the token, in the same context."""
    return None if _current.get() == level else _current.set(level)


def leave(token: Token[int] | None) -> None:
    """Be as urgent as before."""
    if token is not None:
        _current.reset(token)


def parse_priority(text: str | None) -> int:
    """What a header says; nothing sensible means ordinary."""
    if text is not None and len(text) == 1 and "0" <= text <= "7":
        return int(text)
    return ORDINARY


def mark(headers: dict[str, str]) -> None:
    """Say the priority in the headers of a request, where it is not the ordinary one."""
    level = _current.get()
    if level != ORDINARY:
        headers[HEADER] = str(level)
