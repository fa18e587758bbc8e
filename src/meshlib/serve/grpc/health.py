"""
The health service of a gRPC server (grpc.health.v1), where the application has none of its own.

It needs grpcio-health-checking; without it the methods are not there.  It is asked by peers of the
mesh and at the edge, like `/-/health`: whoever is admitted, be he allowed to do anything or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from meshlib.serve.grpc.handlers import Around, Handler, wrap

Fallback: TypeAlias = "Callable[[str], Handler | None]"
"""The mesh's own handler for a method that the application does not have."""


class Servicer(Protocol):
    """The part of grpcio-health-checking's servicers that is used; in aio both are coroutines."""

    def set(self, service: str, status: Any) -> Any:
        """Say how a service is."""

    def enter_graceful_shutdown(self) -> Any:
        """Say that nothing is served any more, for good."""


class Health:
    """Answers for "" and for every service that it was told of; without a servicer for nothing."""

    def __init__(self, servicer: Servicer | None, admitted: Around) -> None:
        self.servicer = servicer
        self._handlers: dict[str, Handler] = {}
        if servicer is not None:
            for path, handler in _handlers_of(servicer).items():
                self._handlers[path] = wrap(path, handler, admitted)

    def __call__(self, path: str) -> Handler | None:
        """The handler of a method of the health service."""
        return self._handlers.get(path)


def threads_servicer() -> Servicer | None:
    """For a `grpc.Server`; None where grpcio-health-checking is not installed."""
    try:
        from grpc_health.v1 import health  # noqa: PLC0415 - not everybody has it
    except ModuleNotFoundError:
        return None
    servicer: Servicer = health.HealthServicer()
    return servicer


def loop_servicer() -> Servicer | None:
    """For a `grpc.aio.Server`; None where grpcio-health-checking is not installed."""
    try:
        from grpc_health.v1 import health  # noqa: PLC0415 - not everybody has it
    except ModuleNotFoundError:
        return None
    servicer: Servicer = health.aio.HealthServicer()
    return servicer


def serving() -> Any:
    """The word for a service that is well."""
    from grpc_health.v1 import health_pb2  # noqa: PLC0415 - there is a servicer

    return health_pb2.HealthCheckResponse.SERVING


def _handlers_of(servicer: Servicer) -> Mapping[str, Handler]:
    from grpc_health.v1 import health_pb2_grpc  # noqa: PLC0415 - there is a servicer

    asked = _Asked()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, asked)
    return asked.handlers


class _Asked:
    """Looks like a server, to generated code."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same handlers, for older servers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Take them, by path."""
        self.handlers |= {f"/{service}/{name}": each for name, each in handlers.items()}
