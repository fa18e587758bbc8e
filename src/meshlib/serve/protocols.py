"""
uvicorn's HTTP protocols, with what they lack.

uvicorn does not tell an application who is at the other end of a TLS connection.  A subclass of its
protocol does: it puts a `Connection` into the state every request of that connection starts from,
and the websocket protocol inherits.  The other addition is impatience: uvicorn waits for ever for
the end of a request's headers, and with httptools lets them be of any size.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any, ClassVar

from meshlib.errors import ConfigError
from meshlib.serve.admission import Connection
from meshlib.serve.asgi import CONNECTION, TARGET
from meshlib.serve.newcomers import Newcomers
from meshlib.serve.options import PeerLimits, ServeOptions
from meshlib.trust.tls import peer_of

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Known(asyncio.Protocol):
    """Mixed into uvicorn's protocols: says what is known of the connection."""

    limits: ClassVar[PeerLimits]
    app_state: dict[str, Any]
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _late: asyncio.TimerHandle | None = None
    _head_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        # a copy for this connection alone, which its websocket protocol inherits
        self.app_state = {**self.app_state, CONNECTION: self.known_of(transport)}
        super().connection_made(transport)
        self._be_impatient(self.first_head())

    def data_received(self, data: bytes) -> None:
        """Read a part of a request, unless its head grows too large."""
        super().data_received(data)
        if self.head_is_open():
            self._head_goes_on(len(data))
        elif self._late is not None:
            self._head_is_there()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._head_is_there()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection after its answer, at the drain."""
        # a second close() makes asyncio's TLS transport forget how to abort()
        if not self.transport.is_closing():
            super().shutdown()  # type: ignore[misc]

    def known_of(self, transport: asyncio.BaseTransport) -> Connection:
        """What the listener knows of who is there."""
        raise AssertionError(transport)

    def first_head(self) -> float:
        """Seconds until the first request must be there."""
        raise AssertionError(self)

    def head_is_open(self) -> bool:
        """Whether a request has begun and its headers have not ended."""
        raise AssertionError(self)

    def _head_goes_on(self, size: int) -> None:
        if not self._head_size:
            self._be_impatient(self.limits.head)
        self._head_size += size
        if self._head_size > self.limits.head_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _be_impatient(self, seconds: float) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(seconds, self.transport.abort)

    def _head_is_there(self) -> None:
        self._head_size = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None


class FromMesh(Known):
    """Of the mesh's listener: the handshake has proven who it is."""

    timeout_keep_alive: int

    def known_of(self, transport: asyncio.BaseTransport) -> Connection:
        """The verified peer."""
        return Connection(peer_of(transport.get_extra_info("ssl_object")))

    def first_head(self) -> float:
        """A peer may connect ahead of its first request."""
        return self.timeout_keep_alive


class FromEdge(Known):
    """Of the edge listener: anybody, so there is room for so many who have not sent a request."""

    newcomers: ClassVar[Newcomers[Known]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait, with the others who are new."""
        super().connection_made(transport)
        self.newcomers.admit(self)

    def known_of(self, transport: asyncio.BaseTransport) -> Connection:
        """Nothing."""
        del transport
        return Connection(None, edge=True)

    def first_head(self) -> float:
        """No longer than for any other."""
        return self.limits.head

    def _head_is_there(self) -> None:
        super()._head_is_there()
        self.newcomers.leave(self)


class _Httptools:
    """Mixed into the httptools protocol."""

    url: bytes
    scope: dict[str, Any]
    _open = False

    def on_message_begin(self) -> None:
        self._open = True
        super().on_message_begin()  # type: ignore[misc]

    def on_header(self, name: bytes, value: bytes) -> None:
        # the protocol adds trailers to the headers of a request that is already being served
        if self._open:
            super().on_header(name, value)  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self._open = False
        # the protocol cuts scheme and host off an absolute target
        if not self.url.startswith(b"/"):
            self.scope["state"][TARGET] = self.url
        super().on_headers_complete()  # type: ignore[misc]

    def head_is_open(self) -> bool:
        return self._open


_BODY = frozenset({b"content-length", b"transfer-encoding"})


class _H11:
    """Mixed into the h11 protocol."""

    conn: Any
    headers: list[tuple[bytes, bytes]]

    def handle_websocket_upgrade(self, event: Any) -> None:
        # the protocol hands the head on and keeps the body, for which the other would wait
        if any(name in _BODY and value != b"0" for name, value in self.headers):
            self.send_400_response("an upgrade has no body")  # type: ignore[attr-defined]
        else:
            super().handle_websocket_upgrade(event)  # type: ignore[misc]

    def head_is_open(self) -> bool:
        import h11  # noqa: PLC0415 - one of two

        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])


class FromPlaintext(FromEdge):
    """Of the mesh's listener, without TLS, where that is accepted: as little known as the edge."""

    def known_of(self, transport: asyncio.BaseTransport) -> Connection:
        """Nothing, but where it came."""
        del transport
        return Connection(None, plaintext=True)


def protocol_class(options: ServeOptions, known: type[Known]) -> type[asyncio.Protocol]:
    """uvicorn's protocol for the chosen parser, of this listener.  Raises ConfigError."""
    if chosen("http", options.http, fast="httptools", slow="h11") == "httptools":
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415

        return extended(HttpToolsProtocol, options.limits, known)
    from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - one of two

    return extended(H11Protocol, options.limits, known)


def extended(base: type[Any], limits: PeerLimits, known: type[Known]) -> type[asyncio.Protocol]:
    """A protocol of uvicorn's, or one made of it, for this listener.

    Raises ConfigError for any other.
    """
    for parser in base.__mro__:
        mixin = _MIXINS.get(parser.__name__)
        if mixin is not None and parser.__module__.startswith("uvicorn."):
            newcomers: Newcomers[Known] = Newcomers(
                limits.newcomers, lambda protocol: protocol.transport.abort()
            )
            own = {"limits": limits, "newcomers": newcomers}
            return type(f"Mesh{base.__name__}", (mixin, known, base), own)
    raise ConfigError("http", base.__name__, '"auto", "h11" or "httptools"')


_MIXINS = {"HttpToolsProtocol": _Httptools, "H11Protocol": _H11}


def chosen(field: str, choice: str, *, fast: str, slow: str) -> str:
    """What "auto" means here.  Raises ConfigError for what is not installed."""
    installed = importlib.util.find_spec(fast) is not None
    if choice == "auto":
        return fast if installed else slow
    if choice not in {fast, slow}:
        raise ConfigError(field, choice, f'"auto", "{fast}" or "{slow}"')
    if choice == fast and not installed:
        raise ConfigError(field, choice, "a package that is installed", hint=f"pip install {fast}")
    return choice
