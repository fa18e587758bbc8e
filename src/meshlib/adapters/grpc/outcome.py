"""What a code means: an answer of the server's, or a wire that failed."""

from __future__ import annotations

from grpc import FutureCancelledError, StatusCode

from meshlib.adapters.grpc.line import Line
from meshlib.adapters.grpc.replies import RpcReply
from meshlib.adapters.wire import interrupted
from meshlib.errors import Interrupted
from meshlib.model import Attempt

_BROKEN = frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.INTERNAL})
"""Codes that grpcio gives calls whose connection breaks."""


class Stale(ConnectionError):
    """The line had lost its connection, so nothing was sent."""


def judged(attempt: Attempt, line: Line, reply: RpcReply, now: float) -> RpcReply:
    """The reply, if it is one.

    Raises Stale, Interrupted as the wire's part of it, and FutureCancelledError for the user's.
    """
    if line.is_cut:
        raise FutureCancelledError
    silent = not (reply.raw_headers or reply.trailing)
    if reply.code is StatusCode.UNAVAILABLE and silent and line.never_sent(reply.details):
        raise Stale("the connection ended before anything was sent")
    if our_time_was_up(reply.code, reply.details, attempt, now):
        raise interrupted(attempt, TimeoutError())
    broken = failure(attempt, line, reply)
    if broken is not None:
        raise broken
    return reply


def our_time_was_up(code: StatusCode | None, details: str, attempt: Attempt, now: float) -> bool:
    """Whether a code means that the attempt took too long, whoever was the first to see it."""
    if now >= attempt.deadline and code in _TIMED_OUT:
        return True
    return code is StatusCode.DEADLINE_EXCEEDED and details in _OUR_CLOCK


def failure(attempt: Attempt, line: Line, reply: RpcReply) -> Interrupted | None:
    """What broke, if it was the connection; a server that answers says more than a code."""
    if reply.code is StatusCode.DEADLINE_EXCEEDED and reply.details in _OUR_CLOCK:
        return interrupted(attempt, TimeoutError())
    spoke = reply.raw_headers or reply.trailing
    if reply.content is None:
        spoke = reply.trailing
    if reply.code not in _BROKEN or spoke or not line.relay.ended:
        return None
    return interrupted(attempt, line.relay.error or ConnectionResetError(reply.details))


_OUR_CLOCK = frozenset({"Deadline Exceeded", "Stream removed (Deadline Exceeded)"})
"""grpcio's words when it is this side's time that was up."""
_TIMED_OUT = frozenset({StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED})
