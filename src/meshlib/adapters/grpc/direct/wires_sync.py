"""The direct connections of synchronous callers."""

from __future__ import annotations

import select
import socket

from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.direct.wire_sync import SyncWire
from meshlib.adapters.grpc.lines_sync import Key, SyncConnections
from meshlib.adapters.grpc.rotations import Rotations
from meshlib.adapters.wire import Trust
from meshlib.model import Attempt
from meshlib.runtime import Clock


class SyncWires(SyncConnections[SyncWire]):
    """Those that nobody used for `idle` seconds are closed by whoever comes next."""

    def __init__(self, trust: Trust, rotations: Rotations, idle: float, clock: Clock) -> None:
        super().__init__(trust, rotations)
        self._idle, self._clock = idle, clock
        self._swept = clock()

    def enter(self, attempt: Attempt, seconds: float) -> tuple[SyncWire, bool]:
        """One that counts the attempt, and whether it is new; as for lines."""
        if self._clock() - self._swept > self._idle:
            self._sweep()
        return super().enter(attempt, seconds)

    def _sweep(self) -> None:
        now = self._swept = self._clock()
        for _, promised in tuple(self._lines.values()):
            if promised.done() and promised.exception() is None:
                wire = promised.result()
                if now - wire.used > self._idle:
                    wire.retire()

    def _connect(self, key: Key, attempt: Attempt, seconds: float) -> SyncWire:
        context, host, port = key
        until = self._clock() + seconds
        tunnel = Tunnel(socket.create_connection((host, port), seconds), context)
        try:
            readable = select.poll()
            readable.register(tunnel, select.POLLIN)
            while not tunnel.shake():
                if not readable.poll(max(until - self._clock(), 0) * 1000):
                    raise TimeoutError  # noqa: TRY301 - the tunnel is closed below
                tunnel.fill()
        except EOFError as exc:
            tunnel.close()
            raise ConnectionResetError("the peer closed the connection in the handshake") from exc
        except BaseException:
            tunnel.close()
            raise
        return SyncWire(tunnel, self._clock)
