"""
gRPC's status codes, and the statuses of HTTP that stand for them in logs, spans and metrics.

The pairs are those of google/rpc/code.proto.
"""

from __future__ import annotations

import grpc
from grpc import StatusCode

from meshlib.policy.nack import NO, RETRY
from meshlib.serve.admission import Refusal
from meshlib.serve.told import Turned

_STATUS = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}
_BY_NUMBER = {code.value[0]: status for code, status in _STATUS.items()}

_CODE = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    421: StatusCode.UNAUTHENTICATED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
"""What the refusals of `serve` become."""

PUSHBACK = "grpc-retry-pushback-ms"
"""Proposal A6: when to try again; a negative number asks not to."""


def status_of(code: grpc.StatusCode | int | None) -> int:
    """The status that stands for what a handler said; None is what it says when all went well."""
    if isinstance(code, int):
        return _BY_NUMBER.get(code, 500)
    return 200 if code is None else _STATUS[code]


def number_of(code: grpc.StatusCode | int | None) -> str:
    """The code as `grpc-status` has it."""
    if isinstance(code, int):
        return str(code)
    return "0" if code is None else str(code.value[0])


def code_of(refusal: Refusal) -> grpc.StatusCode:
    """What a caller is told in place of the application's answer."""
    return _CODE[refusal.status]


def refusal_of(turned: Turned | None) -> Refusal | None:
    """The answer to an RPC that is turned away, with a word about when to try again.

    An overloaded process asks not to be tried again, as more of the same is what it cannot take;
    beyond a rate there is a time for it.
    """
    if turned is None:
        return None
    headers = dict(turned.headers)
    if turned.status == 503:
        more = {RETRY: NO, PUSHBACK: "-1"}
    else:
        more = {PUSHBACK: str(int(headers.get("retry-after", "0")) * 1000)}
    return Refusal(turned.status, turned.reason, (*headers.items(), *more.items()))
