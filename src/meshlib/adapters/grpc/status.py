"""
gRPC codes and HTTP statuses, each as the other.

The stack judges replies by their status, so a gRPC reply carries the one its code stands for, as
Envoy has it (`grpcToHttpStatus`): UNAVAILABLE is a 503 to outlier detection, circuits and retries,
NOT_FOUND a 404, which blames the caller.  Those from 500 on are the ones OpenTelemetry's
conventions call a server's errors.  The code itself stands in `grpc-status`, which retry conditions
of that name look at.

In the other direction, replies made on our side (faults, fallbacks, direct answers) become codes by
gRPC's own table (doc/http-grpc-status-mapping.md), unless they say `grpc-status` themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from grpc import StatusCode

STATUS: Mapping[StatusCode, int] = MappingProxyType(
    {
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
)

NUMBER: Mapping[StatusCode, str] = MappingProxyType({code: str(code.value[0]) for code in STATUS})
"""What stands in `grpc-status`."""

BY_NUMBER: Mapping[str, StatusCode] = MappingProxyType(
    {number: code for code, number in NUMBER.items()}
)
"""The other way."""

_OF_HTTP = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}


def code_of(status: int, headers: Mapping[str, str]) -> StatusCode:
    """The code of a reply that no gRPC server made."""
    said = BY_NUMBER.get(headers.get("grpc-status", ""))
    if said is not None:
        return said
    return StatusCode.OK if 200 <= status < 300 else code_of_http(status)


def code_of_http(status: int) -> StatusCode:
    """What a status that is no success stands for, if nothing else was said."""
    return _OF_HTTP.get(status, StatusCode.UNKNOWN)
