"""The direct connections of one event loop."""

from __future__ import annotations

import asyncio

from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.direct.wire_aio import AioWire, settle
from meshlib.adapters.grpc.lines_aio import AioConnections, Key, dialled
from meshlib.adapters.grpc.rotations import Rotations
from meshlib.adapters.wire import Trust
from meshlib.model import Attempt


class AioWires(AioConnections[AioWire]):
    """Those that nobody used for `idle` seconds close by themselves."""

    def __init__(self, trust: Trust, rotations: Rotations, idle: float) -> None:
        super().__init__(trust, rotations)
        self._idle = idle

    async def _connect(self, key: Key, attempt: Attempt) -> AioWire:
        """The attempt that asks first says how long it may take."""
        context, host, port = key
        async with asyncio.timeout(attempt.connect_timeout):
            tunnel = Tunnel(await dialled(host, port), context)
            try:
                while not tunnel.shake():
                    await _readable(tunnel)
                    tunnel.fill()
            except EOFError as exc:
                tunnel.close()
                message = "the peer closed the connection in the handshake"
                raise ConnectionResetError(message) from exc
            except BaseException:
                tunnel.close()
                raise
        return AioWire(tunnel, self._idle)


async def _readable(tunnel: Tunnel) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(tunnel, settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(tunnel)
