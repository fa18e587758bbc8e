"""
What a gRPC user catches for each of our errors: a `grpc.RpcError` with the code it stands for.

    ConfigError                                  FAILED_PRECONDITION: the caller must change it
    ControlError and its kinds                   UNAVAILABLE
    NoRoute, NoEndpoint                          UNAVAILABLE, as gRPC's own xDS and name resolution
    Rejected by rate or concurrency              RESOURCE_EXHAUSTED
    Rejected by breaker or budget                UNAVAILABLE
    Denied                                       PERMISSION_DENIED
    DeadlineExceeded, attempts that timed out    DEADLINE_EXCEEDED
    AttemptFailed and its kinds                  UNAVAILABLE, as grpcio says of its own connections
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, NoReturn

import grpc.aio
from grpc import StatusCode

from meshlib import errors
from meshlib.adapters.grpc.bases import AioRpcError, RpcError
from meshlib.adapters.grpc.over import Over
from meshlib.adapters.grpc.replies import RpcReply
from meshlib.adapters.translate import Table, Translator
from meshlib.errors import MeshError

CODES: Mapping[type[MeshError], StatusCode] = MappingProxyType(
    {
        errors.ConfigError: StatusCode.FAILED_PRECONDITION,
        errors.ControlError: StatusCode.UNAVAILABLE,
        errors.RegistryUnavailable: StatusCode.UNAVAILABLE,
        errors.IdentityUnavailable: StatusCode.UNAVAILABLE,
        errors.NoRoute: StatusCode.UNAVAILABLE,
        errors.NoEndpoint: StatusCode.UNAVAILABLE,
        errors.Rejected: StatusCode.UNAVAILABLE,
        errors.Denied: StatusCode.PERMISSION_DENIED,
        errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
        errors.AttemptFailed: StatusCode.UNAVAILABLE,
        errors.ConnectFailed: StatusCode.UNAVAILABLE,
        errors.PeerNotTrusted: StatusCode.UNAVAILABLE,
        errors.Interrupted: StatusCode.UNAVAILABLE,
    }
)
"""For each of our errors; a test asserts that none is missing."""

_TOO_MUCH = frozenset({"rate", "concurrency"})


def code_of_error(error: MeshError) -> StatusCode:
    """See the module."""
    if getattr(error, "timed_out", False):
        return StatusCode.DEADLINE_EXCEEDED
    if isinstance(error, errors.Rejected) and error.by in _TOO_MUCH:
        return StatusCode.RESOURCE_EXHAUSTED
    return CODES[next(kind for kind in type(error).__mro__ if kind in CODES)]


class Failed(RpcError, Over):
    """A call that ended badly, to be caught and asked as grpcio's own errors are.

    It is a call and a future as well, for interceptors take it for one.
    """

    def __init__(self, reply: RpcReply) -> None:
        super().__init__(f"{reply.code}: {reply.details}")
        self._reply = reply

    def result(self, timeout: float | None = None) -> NoReturn:
        """Raise itself."""
        raise self

    def exception(self, timeout: float | None = None) -> Exception:
        """Itself."""
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where it was raised."""
        return self.__traceback__


def cancelled() -> Failed:
    """A call that its caller cancelled."""
    return Failed(RpcReply(StatusCode.CANCELLED, details="Locally cancelled by application!"))


def closed() -> Failed:
    """A call whose channel its caller closed."""
    return Failed(RpcReply(StatusCode.CANCELLED, details="Channel closed!"))


class _OfMesh:
    """What both worlds' errors of the mesh itself have in common: no server said anything."""

    def code(self: Any) -> StatusCode:
        """The code it stands for."""
        return code_of_error(self)

    def details(self: Any) -> str:
        """What happened, why, and what to try."""
        return str(self)

    def initial_metadata(self) -> Any:
        """None was received."""
        return self._metadata()

    def trailing_metadata(self) -> Any:
        """None was received."""
        return self._metadata()

    def _metadata(self) -> Any:
        return ()

    def debug_error_string(self: Any) -> str:
        """Code and details, for logs."""
        return f"{self.code().name}:{self}"


class FailedInMesh(_OfMesh, Failed):
    """A call of a `grpc.Channel` that the mesh ended."""

    __repr__ = Exception.__repr__


class FailedInMeshAio(_OfMesh, AioRpcError):
    """A call of a `grpc.aio.Channel` that the mesh ended."""

    __repr__ = Exception.__repr__

    def _metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()


def _table(theirs: type[Exception]) -> Table:
    return dict.fromkeys(CODES, theirs)


ERRORS = Translator(_table(FailedInMesh), {})
AIO_ERRORS = Translator(_table(FailedInMeshAio), {})
