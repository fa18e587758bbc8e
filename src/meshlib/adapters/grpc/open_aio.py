"""Makes gRPC channels for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from meshlib.adapters.grpc.direct.engine import AioDirect, Manners
from meshlib.adapters.grpc.direct.wires_aio import AioWires
from meshlib.adapters.grpc.engine_aio import AioGrpcEngine
from meshlib.adapters.grpc.face_aio import MeshAioChannel
from meshlib.adapters.grpc.lines_aio import AioLines
from meshlib.adapters.grpc.open_sync import with_compression
from meshlib.adapters.grpc.rotations import Rotations
from meshlib.adapters.loops import PerLoop
from meshlib.adapters.stacks import IDLE, Engine, Parts
from meshlib.runtime import real_clock
from meshlib.stack.service import CallService

if TYPE_CHECKING:
    import grpc
    import grpc.aio


class _OfLoop:
    """The engine and the stack of one channel in one loop."""

    def __init__(self, options: tuple[tuple[str, Any], ...]) -> None:
        self._options = options
        self._engine: AioGrpcEngine | None = None
        self.stack: CallService | None = None

    def engine(self, parts: Parts) -> AioGrpcEngine:
        if self._engine is None:
            rotations = Rotations()
            lines = AioLines(parts.h2, rotations, IDLE, self._options)
            self._engine = AioGrpcEngine(lines, real_clock, self._direct(parts, rotations))
        return self._engine

    def _direct(self, parts: Parts, rotations: Rotations) -> AioDirect | None:
        manners = Manners.of(self._options)
        if manners is None:
            return None
        return AioDirect(AioWires(parts.h2, rotations, IDLE), real_clock, manners)

    @property
    def made(self) -> bool:
        return self._engine is not None

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()


class _Stacks:
    """The stacks of one channel: its engines are made when a certificate is there."""

    def __init__(
        self,
        over: Callable[[str, Engine], CallService],
        service: str,
        options: tuple[tuple[str, Any], ...],
    ) -> None:
        self._over, self._service = over, service
        self._loops = PerLoop(lambda: _OfLoop(options), _OfLoop.close)

    def __call__(self) -> CallService:
        here = self._loops.current()
        if here.stack is not None:
            return here.stack
        stack = self._over(self._service, here.engine)
        if here.made:  # before, it is one that waits for the certificate
            here.stack = stack
        return stack

    async def close(self) -> None:
        await self._loops.current().close()


def open_channel(
    over: Callable[[str, Engine], CallService],
    service: str,
    options: Sequence[tuple[str, Any]],
    compression: grpc.Compression | None,
    interceptors: Sequence[grpc.aio.ClientInterceptor],
    idempotent: Collection[str],
) -> grpc.aio.Channel:
    """A channel to `service`; it connects when it is used."""
    stacks = _Stacks(over, service, with_compression(options, compression))
    made: Any = MeshAioChannel(service, stacks, stacks.close, interceptors, idempotent)
    channel: grpc.aio.Channel = made
    return channel
