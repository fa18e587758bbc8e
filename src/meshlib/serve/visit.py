"""
One request being served, as the tracer, the listener and the access log see it.

The access log has one line a request: who, what, how it ended, how long it took.  The query string
is left out, for people put secrets there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from meshlib.context import RequestContext
from meshlib.model import NO_HEADERS, Identity
from meshlib.observe.events import Inbound
from meshlib.serve.admission import Head, Refusal
from meshlib.serve.context import said_back
from meshlib.serve.options import AppOptions

log = logging.getLogger("meshlib.access")


class Visit:
    """Begins when it is made and ends once, in the same context."""

    __slots__ = (
        "_context",
        "_inbound",
        "_options",
        "_span",
        "_started",
        "_token",
        "gone",
        "said",
        "seconds",
        "status",
    )

    def __init__(
        self, options: AppOptions, inbound: Inbound, context: RequestContext | None = None
    ) -> None:
        self._options = options
        self._inbound = inbound
        self._context = context
        self.status = 0
        """What the application answered; 0 until it does."""
        self.gone = False
        """Whether the client went away before the answer was complete."""
        self.seconds = -1.0
        """How long the answer took; negative until its last byte is out."""
        self.said: Mapping[str, str] = NO_HEADERS
        """What the answer says of itself, where that is more than its status."""
        self._started = options.clock()
        self._span = options.tracer.serve(options.service, inbound)
        self._token = None if context is None else context.enter()

    def too_late(self) -> bool:
        """Whether nobody waits for the answer any more, before the application is asked for it."""
        late = self._context is not None and self._context.left <= 0
        if late:
            self._options.listener.request_refused(self._options.service, "deadline", 504)
        return late

    def begin_answer(self, status: int) -> list[tuple[str, str]]:
        """The answer has this status; returns the headers to add to it."""
        self.status = status
        return [] if self._context is None else said_back(self._context, self._inbound, status)

    def complete(self) -> None:
        """The last byte of the answer is out; the application may go on working."""
        if self.seconds < 0:
            self.seconds = self._options.clock() - self._started
            if self._context is not None:
                self._context.ended = True

    def end(self, error: BaseException | None = None) -> None:
        """Tell everybody; `error` is what escaped from the application."""
        complete = self.seconds >= 0
        self.complete()
        status = self._outcome(error, complete=complete)
        if self._context is not None and self._token is not None:
            self._context.leave(self._token)
        self._span.end(status=status, error=error, headers=self.said)
        self._options.listener.request_served(
            self._options.service, self._inbound, status, self.seconds
        )
        if log.isEnabledFor(logging.INFO):
            log.info(
                "peer=%s method=%s path=%s status=%d ms=%.1f",
                _caller(self._inbound.peer) or self._inbound.caller,
                self._inbound.method,
                self._inbound.path,
                status,
                self.seconds * 1000,
            )

    def _outcome(self, error: BaseException | None, *, complete: bool) -> int:
        if self.gone and not complete:
            return 0
        if error is not None and not self.status:
            return 500  # what every server answers for the application
        return self.status


def log_refusal(refusal: Refusal, method: str, head: Head, peer: Identity | None) -> None:
    """One line, for a request the application never sees."""
    log.warning(
        "peer=%s method=%s path=%r status=%d refused=%r",
        _caller(peer) or "-",
        method,
        head.target,
        refusal.status,
        refusal.reason,
    )


def _caller(peer: Identity | None) -> str:
    return "" if peer is None else peer.service or peer.spiffe_id
