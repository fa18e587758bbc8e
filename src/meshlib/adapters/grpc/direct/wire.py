"""One verified connection to an endpoint, and the calls on it, without whoever waits for them."""

from __future__ import annotations

import contextlib

from meshlib.adapters.grpc.direct.connection import Connection
from meshlib.adapters.grpc.direct.errors import BrokenProtocol
from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.shared import Shared


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

    def _receive(self) -> None:
        """Take what has come, and send what that allows to be sent."""
        try:
            data = self._tunnel.receive()
            if data:
                self._connection.feed(data)
            self._flush()
        except BrokenProtocol as exc:
            with contextlib.suppress(OSError):
                self._tunnel.send(self._connection.farewell(exc.code))
            self._end(exc)
        except EOFError:
            self._end(ConnectionResetError("the peer closed the connection"))
        except OSError as exc:
            self._end(exc)

    def _flush(self) -> None:
        """Send, as far as the socket takes it.  Raises OSError."""
        out = self._connection.out
        if out:
            self._tunnel.send(out)
            out.clear()
        elif self._tunnel.unsent:
            self._tunnel.push()

    def _end(self, error: BaseException) -> None:
        if not self.ended:
            self._connection.end(error)
            self.retire()
