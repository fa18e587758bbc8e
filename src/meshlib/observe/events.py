"""
What the mesh tells about itself, and to whom.

The stack and the servers speak to two protocols: a `Tracer` that follows one request across
processes, and a `Listener` that counts.  Nothing here depends on a tracing or metrics library;
`observe.otel` and `observe.passthrough` implement `Tracer`, `observe.metrics` is a `Listener`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from meshlib.errors import ConfigError
from meshlib.model import HTTP, NO_HEADERS, Attempt, Call, Endpoint, Identity, Verdict

Address: TypeAlias = tuple[str, int]


class Span(Protocol):
    """One piece of work being traced."""

    def inject(self, headers: dict[str, str]) -> None:
        """Add what the next process needs to continue the trace."""

    def end(
        self,
        *,
        status: int = 0,
        error: BaseException | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Finish; `status` is the HTTP status, 0 when there was none.

        Of the answer's `headers` it is `grpc-status` that says what the status of an RPC cannot.
        """


class Inbound(NamedTuple):
    """A request as a server sees it, before the application does."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names; of repeated headers the last."""
    peer: Identity | None
    """None on the edge listener, and for plaintext."""
    origin: Address | Callable[[], Address]
    """Where it came from, or what tells it: gRPC's servers are slow to."""
    edge: bool = False
    plaintext: bool = False
    """Without TLS on the mesh's own listener, which permits it."""
    continued: bool = False
    """Whether it belongs to a tree of calls that began in another process: it brought credit."""
    protocol: str = HTTP

    @property
    def client(self) -> Address:
        """Host and port of the other end; "" and 0 where it has none."""
        return self.origin() if callable(self.origin) else self.origin

    @property
    def caller(self) -> str:
        """The caller's service; "(edge)" or "(plaintext)" without one, which no service can be."""
        if self.peer is not None:
            return self.peer.service
        return "(plaintext)" if self.plaintext else "(edge)"


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
    """Hears of what happened, on the thread it happened on.  Must be quick, must not raise.

    An implementation outside of this package inherits from `Quiet` and overrides what it wants to
    hear, so that an event of a later version is no error.  Words that name a kind, a reason or a
    state are few and fixed; names of services, routes and documents are what people called them.
    """

    # ---- calls of this process

    def attempt_finished(
        self, service: str, endpoint: Endpoint, verdict: Verdict, seconds: float
    ) -> None:
        """One try ended."""

    def call_finished(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """One logical call ended, with a status or an error."""

    def call_retried(self, call: Call, why: str) -> None:
        """Another attempt follows one that failed.

        Why: "connect-failure", "timeout", "reset", "nack" (the peer says that nothing was done),
        or the status as text, with gRPC's after it ("200 grpc 14").
        """

    def call_hedged(self, call: Call, outcome: str) -> None:
        """An attempt that was slow got company; the hedge "won" or "lost"."""

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """A copy of a call to `service`, sent to the service `mirror`, came to an end.

        The outcome is a status, "failed" for a copy without an answer, or "dropped" for one that
        was not sent, as too many were under way.
        """

    def blame_withheld(self, service: str, endpoint: Endpoint, why: str) -> None:
        """An attempt failed, and its endpoint is not blamed.

        Why: "stall" (this process stood still) or "poison" (the request fails wherever it goes).
        """

    # ---- what it thinks of others, and of itself

    def endpoint_moved(self, service: str, endpoint: Endpoint, before: str, after: str) -> None:
        """The breaker of an endpoint moved: "closed", "open", "half-open"."""

    def circuit_moved(self, service: str, method: str, before: str, after: str) -> None:
        """The circuit of a method moved; the words are those of `policy.circuit.CircuitState`."""

    def process_stalled(self, seconds: float) -> None:
        """This process, or one of its event loops, stood still and goes on."""

    # ---- the control plane

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """A document cannot be used; the last good ones stay in force."""

    def control_event(self, kind: str, subject: str, text: str) -> None:
        """Something happened between this process and its control plane.

        `kind` is one of few fixed words (docs/how-to/consul.md explains them): "agent-lost",
        "agent-back", "heartbeat-lost", "endpoints-held", "endpoints-released", "snapshot-used",
        "snapshot-refused", "snapshot-not-written", "not-allowed", "unknown-datacenter", "refused",
        "unknown-field", "document-refused", "intentions-denied", "intentions-trouble",
        "intentions-refused"; of this process's identity "identity-denied", "identity-queued",
        "identity-trouble", "connect-disabled", "roots-refused", "leaf-refused", "leaf-overdue",
        "leaf-expired", "clock-skew", "ca-replaced", "roots-changed", "identity-restored";
        of the keys of tokens' issuers "jwks-changed", "jwks-trouble";
        of what is accepted "mtls-permissive", "mtls-strict".
        `subject` is what it is about (a service, an address, a document), `text` a sentence for
        people.
        """

    # ---- requests this process serves

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """A served request ended; status 0 when the client went away first."""

    def request_refused(self, service: str, by: str, status: int) -> None:
        """A request was answered by the mesh, in place of the application.

        By "admission" (not one of ours, or not well formed), "token" (the end user's), "deadline"
        (nobody waits for it any more), "shed", "rate", "shared-rate" or "concurrency"; for
        intentions see `request_denied`.
        """

    def request_denied(self, service: str, inbound: Inbound, rule: str, *, enforced: bool) -> None:
        """The intentions do not allow a request; it is refused if they are `enforced`.

        `rule` is the intention that decided.
        """

    def rates_counted(self, service: str, *, alone: bool) -> None:
        """From now on this process counts the shared rates alone, or again with the others."""
