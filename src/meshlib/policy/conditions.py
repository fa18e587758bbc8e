"""
Which outcomes of an attempt are followed by another.

    connect-failure      no connection, or not a trusted one: never sent
    refused-stream       the peer says that it did nothing: HTTP/2's REFUSED_STREAM, `nack`
    reset                broken or silent after it was sent
    gateway-error        502, 503, 504
    5xx                  any 5xx
    retriable-4xx        409
    rate-limited         429
    cancelled ...        a gRPC status of that name, in `grpc-status`
    `statuses`           any of these

The first two are safe whatever the request: nobody has worked on it.  All others may have been
carried out, and need an idempotent request or the consent `non_idempotent`, and one of `methods`.

Whether to try again is one question, who is to blame is another one: see `policy.classify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from meshlib.config.retry import RetryConfig
from meshlib.errors import AttemptFailed, DeadlineExceeded
from meshlib.model import Call, Reply
from meshlib.policy.nack import refused_untouched

GRPC_CODES: Mapping[str, int] = MappingProxyType(
    {
        "cancelled": 1,
        "deadline-exceeded": 4,
        "resource-exhausted": 8,
        "internal": 13,
        "unavailable": 14,
    }
)
"""The codes that Envoy's x-envoy-retry-grpc-on knows."""

_STATUSES: Mapping[str, range | tuple[int, ...]] = MappingProxyType(
    {
        "gateway-error": range(502, 505),
        "5xx": range(500, 600),
        "retriable-4xx": (409,),
        "rate-limited": (429,),
    }
)


class Conditions:
    """The settings, compiled: a question about one outcome costs a look into a set or two."""

    __slots__ = (
        "_consent",
        "_grpc",
        "_methods",
        "_refused",
        "_reset",
        "_statuses",
        "_unsent",
        "config",
    )

    def __init__(self, config: RetryConfig) -> None:
        self.config = config
        named = [_STATUSES[name] for name in config.on if name in _STATUSES]
        self._statuses = frozenset(
            status for group in (*named, *config.status_ranges()) for status in group
        )
        self._grpc = frozenset(str(GRPC_CODES[name]) for name in config.on if name in GRPC_CODES)
        self._unsent = "connect-failure" in config.on
        self._refused = "refused-stream" in config.on
        self._reset = "reset" in config.on
        self._consent = config.non_idempotent
        self._methods = frozenset(config.methods)

    def of_reply(self, call: Call, reply: Reply) -> bool:
        """Whether this reply is to be followed by another attempt."""
        if reply.status >= 400 and self._refused and refused_untouched(reply):
            return True
        named = reply.status in self._statuses or (
            self._grpc and reply.headers.get("grpc-status", "") in self._grpc
        )
        return bool(named) and self._may_repeat(call)

    def of_error(self, call: Call, error: BaseException) -> bool:
        """Whether this error is."""
        if isinstance(error, DeadlineExceeded) and error.__cause__ is not None:
            error = error.__cause__
        if not isinstance(error, AttemptFailed):
            return False
        if not error.sent:
            return self._unsent
        return self._reset and self._may_repeat(call)

    def _may_repeat(self, call: Call) -> bool:
        """Whether it is no harm, or agreed to, if the peer carries it out twice."""
        if self._methods and call.method not in self._methods:
            return False
        return self._consent or call.idempotent
