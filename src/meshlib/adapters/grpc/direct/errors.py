"""What ends a connection, or a call on it, that no server answered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from grpc import StatusCode


class Code(IntEnum):
    """HTTP/2's reasons (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


RESET: Mapping[int, StatusCode] = MappingProxyType(
    {
        Code.CANCEL: StatusCode.CANCELLED,
        Code.ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED,
        Code.INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
        Code.REFUSED_STREAM: StatusCode.UNAVAILABLE,
    }
)
"""What a stream that was reset ended with, by gRPC's table of them; INTERNAL for all others
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors)."""


class BrokenProtocol(ConnectionError):
    """The peer does not keep to HTTP/2: `code` is what it is told."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class NeverTaken(ConnectionError):
    """The peer says that it did not begin the call: it may be made again."""
