"""One verified connection to an endpoint, and the calls on it, without whoever waits for them."""

from __future__ import annotations

import contextlib

from meshlib.adapters.grpc.direct.connection import Connection
from meshlib.adapters.grpc.direct.errors import BrokenProtocol
from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.shared import Shared

FATAL = (BrokenProtocol, EOFError, OSError)
"""What ends a connection."""


class Wire(Shared):
    """Its `_` methods are for one thread at a time."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self._tunnel, self._connection = tunnel, Connection()

    @property
    def usable(self) -> bool:
        """Whether new calls may use it."""
        return not (self._retired or self._connection.goodbye)

    @property
    def ended(self) -> bool:
        """Whether nothing passes any more."""
        return self._connection.error is not None

    @property
    def error(self) -> BaseException | None:
        """What ended it."""
        return self._connection.error

    @property
    def tls(self) -> object:
        """The connection to the peer, which knows who that is."""
        return self._tunnel.tls

    def finish(self) -> None:
        """End what nobody uses."""
        self._connection.goodbye = True
        self._tunnel.close()

    def _broken(self, error: BaseException) -> None:
        """What one of `FATAL` means for the calls."""
        if isinstance(error, BrokenProtocol):
            with contextlib.suppress(OSError):
                self._tunnel.send(self._connection.farewell(error.code))
        elif isinstance(error, EOFError):
            error = ConnectionResetError("the peer closed the connection")
        self._end(error)

    def _end(self, error: BaseException) -> None:
        if not self.ended:
            self._connection.end(error)
            self.retire()
