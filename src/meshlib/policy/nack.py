"""
What a server says about trying again: the words on the wire, and how they are read.

`x-mesh-retry: no` asks everybody up the tree to leave it at that.  A server that is overloaded says
so, for more of the same is what it cannot take; and so does one whose own calls failed after all
their retries: what would be tried again has been tried.  `x-mesh-retry: safe` says that nothing
was done, so that even a POST may go elsewhere.

What others say for the same is understood: Envoy's `x-envoy-ratelimited`, which Envoy never
retries, Finagle's nacks, and gRPC's pushback (proposal A6).  All of these come from a peer that the
handshake verified, and can make us try less often, not more.
"""

from __future__ import annotations

from math import inf

from meshlib.model import Reply
from meshlib.policy.classify import retry_after

RETRY = "x-mesh-retry"
NO = "no"
SAFE = "safe"

_RATE_LIMITED = "x-envoy-ratelimited"
_NONRETRYABLE = "finagle-http-nonretryable-nack"
_UNTOUCHED = "finagle-http-nack"
_PUSHBACK = "grpc-retry-pushback-ms"


def refused_for_good(reply: Reply) -> bool:
    """Whether the peer asks not to be tried again, nor those beside it."""
    headers = reply.headers
    return headers.get(RETRY) == NO or _RATE_LIMITED in headers or _NONRETRYABLE in headers


def refused_untouched(reply: Reply) -> bool:
    """Whether the peer says that it did nothing of what was asked."""
    headers = reply.headers
    return headers.get(RETRY) == SAFE or _UNTOUCHED in headers


def asked_to_wait(reply: Reply) -> float:
    """Seconds the peer asks to be left alone: 0.0 when it does not, inf for "never again".

    gRPC's pushback means "never" when it is negative or no number (A6); Retry-After that cannot be
    read means nothing (RFC 9110).
    """
    pushback = reply.headers.get(_PUSHBACK)
    if pushback is None:
        return retry_after(reply) or 0.0
    fine = pushback.isascii() and pushback.isdigit()
    return int(pushback) / 1000 if fine else inf
