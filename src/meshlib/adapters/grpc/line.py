"""
A line: one plain channel of grpcio's over one verified connection to an endpoint.

It is never mended: when its connection ends, or trust is rotated, new calls get a new line and the
old one closes with its last call.  grpcio closes the connection of a line that has been idle; so an
endpoint that has left is let go of by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from meshlib.adapters.grpc.pump import pump
from meshlib.adapters.grpc.relay import Relay
from meshlib.adapters.grpc.shared import Shared
from meshlib.adapters.wire import target_of
from meshlib.model import Attempt

_NEVER_SENT = "failed to connect to all addresses"
"""grpcio's words when a channel has no connection; its own address stands behind them."""
_NOT_TAKEN = "Stream removed (GOAWAY received; Error code: 0;"
"""Those of a call that a server which says goodbye did not take any more (RFC 9113, 6.8)."""


class Line(Shared):
    """See the module; `close` is called once, by whoever is last."""

    def __init__(self, relay: Relay, channel: Any, close: Callable[[Any], None]) -> None:
        super().__init__()
        self.relay, self.channel, self._close = relay, channel, close
        self._callables: dict[tuple[str, str], Any] = {}
        relay.on_end = self.retire

    @property
    def ended(self) -> bool:
        """Whether the connection has."""
        return self.relay.ended

    @property
    def error(self) -> BaseException | None:
        """What ended it, if it was not one of the two sides closing."""
        return self.relay.error

    @property
    def tls(self) -> object:
        """The connection to the peer."""
        return self.relay.remote

    def callable(self, shape: str, path: str) -> Any:
        """grpcio's callable of a method; messages are bytes here."""
        found = self._callables.get((shape, path))
        if found is None:
            found = self._callables[shape, path] = getattr(self.channel, shape)(path)
        return found

    def never_sent(self, details: str) -> bool:
        """Whether these words say that the channel had no connection to send anything by.

        They name the line's own socket, which no server knows, or the peer has said goodbye: a
        server that repeats such words of a call of its own is not mistaken for it.
        """
        if details.startswith(_NOT_TAKEN):
            return self.relay.goodbye
        return _NEVER_SENT in details and self.relay.path in details

    def break_off(self) -> None:
        """End the connection, with every call on it."""
        pump().close(self.relay)

    def cut(self) -> None:
        """Take no more calls, and have grpcio end those under way: the user closed the channel."""
        self.is_cut = self._retired = True
        with self._counting:
            first, self._finished = not self._finished, True
        if first:
            self.finish()

    def finish(self) -> None:
        """End what nobody uses, or should use any more."""
        self._close(self.channel)
        self.break_off()


def options_of(attempt: Attempt, idle: float, more: tuple[tuple[str, Any], ...]) -> list[Any]:
    """The options of a channel: the user's, less what is the mesh's to decide."""
    ours = {
        "grpc.default_authority": target_of(attempt).service,
        "grpc.enable_retries": 0,  # ours are; grpcio's would not be seen, nor bounded
        "grpc.service_config_disable_resolution": 1,
        "grpc.enable_http_proxy": 0,
        "grpc.use_local_subchannel_pool": 1,  # a connection is one line's alone
        "grpc.client_idle_timeout_ms": max(int(idle * 1000), 1000),
        "grpc.max_reconnect_backoff_ms": 1000,
    }
    given = {name: value for name, value in more if name not in ours}
    return [*ours.items(), *given.items()]


def credentials() -> grpc.ChannelCredentials:
    """A unix socket of this machine is private enough for call credentials, says grpcio."""
    return grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
