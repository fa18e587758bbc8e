"""
Tracing without a tracing library: what came in goes out again.

A process that records no spans must still not break the trace that runs through it.  The trace
headers of the served request are kept in the context of its handler and put on every call made
from there; nothing is parsed, and a request without them costs one lookup.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token

from meshlib.model import NO_HEADERS, Attempt, Call
from meshlib.observe.events import Inbound, Span

CARRIED = ("traceparent", "tracestate", "baggage")
"""W3C Trace Context and Baggage."""
_NAMES = frozenset(CARRIED)

_incoming: ContextVar[Mapping[str, str]] = ContextVar("meshlib.trace", default=NO_HEADERS)


class _Forward:
    """Hands on what the request being served brought along."""

    def inject(self, headers: dict[str, str]) -> None:
        headers.update(_incoming.get())

    def end(
        self,
        *,
        status: int = 0,
        error: BaseException | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Nothing was begun."""


class _Leave:
    """The application put trace headers on its request itself; they stay as they are."""

    def inject(self, headers: dict[str, str]) -> None:
        """Add nothing."""

    def end(
        self,
        *,
        status: int = 0,
        error: BaseException | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Nothing was begun."""


class _Served(_Leave):
    __slots__ = ("_token",)

    def __init__(self, token: Token[Mapping[str, str]]) -> None:
        self._token = token

    def end(
        self,
        *,
        status: int = 0,
        error: BaseException | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Forget the request's headers."""
        _incoming.reset(self._token)


_FORWARD, _LEAVE = _Forward(), _Leave()


class Passthrough:
    """A `Tracer` that records nothing and loses nothing."""

    def call(self, call: Call) -> Span | None:
        """Nobody listens."""
        del call
        return None

    def attempt(self, attempt: Attempt) -> Span:
        """Continue the served request's trace, unless the application says otherwise."""
        return _LEAVE if "traceparent" in attempt.call.headers else _FORWARD

    def serve(self, service: str, inbound: Inbound) -> Span:
        """Remember the request's trace headers until the span ends."""
        del service
        headers = inbound.headers
        carried = NO_HEADERS
        if not _NAMES.isdisjoint(headers):
            carried = {name: headers[name] for name in CARRIED if name in headers}
        elif not _incoming.get():
            return _LEAVE  # nothing to remember, and nothing to hide
        return _Served(_incoming.set(carried))
