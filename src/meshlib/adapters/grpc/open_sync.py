"""Makes synchronous gRPC channels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from meshlib.adapters.grpc.direct.engine import Manners, SyncDirect
from meshlib.adapters.grpc.direct.wires_sync import SyncWires
from meshlib.adapters.grpc.engine_sync import SyncGrpcEngine
from meshlib.adapters.grpc.face_sync import MeshChannel
from meshlib.adapters.grpc.lines_sync import SyncLines
from meshlib.adapters.grpc.rotations import Rotations
from meshlib.adapters.stacks import IDLE, Engine, Parts
from meshlib.runtime import real_clock
from meshlib.stack.service import CallService

if TYPE_CHECKING:
    import grpc


class _Stack:
    """The stack of one channel, and its engine, made when a certificate is there."""

    def __init__(
        self,
        over: Callable[[str, Engine], CallService],
        service: str,
        options: tuple[tuple[str, Any], ...],
    ) -> None:
        self._over, self._service, self._options = over, service, options
        self._lock = threading.Lock()
        self._engine: SyncGrpcEngine | None = None
        self._stack: CallService | None = None
        self._closed = False

    def __call__(self) -> CallService:
        found = self._stack
        if found is not None:
            return found
        stack = self._over(self._service, self._made)
        if self._engine is not None:  # before, it is one that waits for the certificate
            self._stack = stack
        return stack

    def _made(self, parts: Parts) -> SyncGrpcEngine:
        with self._lock:
            if self._engine is None:
                rotations = Rotations()
                lines = SyncLines(parts.h2, rotations, IDLE, self._options)
                direct = self._direct(parts, rotations)
                self._engine = SyncGrpcEngine(lines, real_clock, direct)
            if self._closed:  # while the certificate was waited for
                self._engine.close()
            return self._engine

    def _direct(self, parts: Parts, rotations: Rotations) -> SyncDirect | None:
        manners = Manners.of(self._options)
        if manners is None:
            return None
        wires = SyncWires(parts.h2, rotations, IDLE, real_clock)
        return SyncDirect(wires, real_clock, manners)

    def close(self) -> None:
        self._closed = True
        if self._engine is not None:
            self._engine.close()


def open_channel(
    over: Callable[[str, Engine], CallService],
    service: str,
    options: Sequence[tuple[str, Any]],
    compression: grpc.Compression | None,
    idempotent: Collection[str],
) -> grpc.Channel:
    """A channel to `service`; it connects when it is used."""
    stack = _Stack(over, service, with_compression(options, compression))
    made: Any = MeshChannel(service, stack, stack.close, idempotent)
    channel: grpc.Channel = made
    return channel


def with_compression(
    options: Sequence[tuple[str, Any]], compression: grpc.Compression | None
) -> tuple[tuple[str, Any], ...]:
    """The options, and a channel's compression as one of them."""
    if compression is None:
        return tuple(options)
    return (*options, ("grpc.default_compression_algorithm", int(compression)))
