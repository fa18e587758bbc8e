"""
What the mesh tells about itself, and to whom.

The stack and the servers speak to two small protocols: a `Tracer` that follows one request across
processes, and a `Listener` that counts.  Nothing here depends on a tracing or metrics library;
`observe.otel` and `observe.passthrough` implement `Tracer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from meshlib.errors import ConfigError
from meshlib.model import Attempt, Call, Endpoint, Identity, Verdict


class Span(Protocol):
    """One piece of work being traced."""

    def inject(self, headers: dict[str, str]) -> None:
        """Add what the next process needs to continue the trace."""

    def end(self, *, status: int = 0, error: BaseException | None = None) -> None:
        """Finish; `status` is the HTTP status, 0 when there was none."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request as a server sees it, before the application does."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names; of repeated headers the last."""
    peer: Identity | None
    """None only on the edge listener."""
    client: tuple[str, int]
    edge: bool = False


class Tracer(Protocol):
    """Follows one request across processes."""

    def call(self, call: Call) -> Span | None:
        """One logical call begins; None when nobody listens."""

    def attempt(self, attempt: Attempt) -> Span:
        """One try begins, as part of `attempt.call.trace`."""

    def serve(self, service: str, inbound: Inbound) -> Span:
        """A request came in.

        Until the span ends, calls made in this context (asyncio task or thread) continue its
        trace.  `end` must be called in the context that called `serve`.
        """


class Listener(Protocol):
    """Hears of every finished attempt, call and served request.  Must be quick, must not raise."""

    def attempt_finished(
        self, service: str, endpoint: Endpoint, verdict: Verdict, seconds: float
    ) -> None:
        """One try ended."""

    def call_finished(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """One logical call ended, with a status or an error."""

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """A copy of a call to `service`, sent to the service `mirror`, came to an end.

        The outcome is a status, "failed" for a copy without an answer, or "dropped" for one that
        was not sent, as too many were under way.
        """

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """A document cannot be used; the last good ones stay in force."""

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """A served request ended; status 0 when the client went away first."""
