"""A gRPC server's stay in the mesh: where it listens, how it is announced, how it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib.errors import ConfigError
from meshlib.serve.grpc.credentials import Rotating
from meshlib.serve.leave import tell
from meshlib.serve.options import Listening
from meshlib.serve.stages import Stage

if TYPE_CHECKING:
    import grpc

    from meshlib.serve.grpc.rpcs import Desk
    from meshlib.serve.options import DrainConfig, Lease


class Stay:
    """Of one server.  All of it blocks; in an event loop it is called in a thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lease: Lease | None = None
        self.listening: Listening | None = None
        """Where it can be reached, once there is a port."""

    @property
    def drain_config(self) -> DrainConfig:
        """How long each step of leaving takes."""
        return self._desk.options.drain

    def bind(
        self, add: Callable[[str, grpc.ServerCredentials], int], address: str | None = None
    ) -> int:
        """Add the mesh's port, at the address of the options if none is given.

        Raises ConfigError for an address that cannot be listened on, and for a second one.
        """
        options = self._desk.options
        address = address or _joined(options.host, options.port)
        if self.listening is not None:
            expected = f"one port of the mesh, which is {self.listening.port}"
            raise ConfigError("port", address, expected)
        port = self.bind_also(add, address)
        self.listening = Listening(_host(address), port)
        return port

    def bind_also(self, add: Callable[[str, grpc.ServerCredentials], int], address: str) -> int:
        """Add a port of the mesh of which nobody is told.  Raises ConfigError."""
        credentials = Rotating(self._desk.options.credentials).server_credentials()
        return bound("port", address, lambda: add(address, credentials))

    def bind_edge(self, add: Callable[[str], int]) -> None:
        """Add the edge, if there is one.  Raises ConfigError."""
        edge, at = self._desk.options.edge, self.listening
        if edge is None or at is None:
            return
        if edge.certfile:
            expected = "no certificate: the edge of a gRPC server is plaintext"
            raise ConfigError("edge.certfile", edge.certfile, expected)
        address = _joined(edge.host, edge.port)
        port = bound("edge", address, lambda: add(address))
        self.listening = Listening(at.host, at.port, (edge.host, port))

    def announce(self) -> None:
        """Register the instance, and tell whoever wants to know.  Raises RegistryUnavailable."""
        at = self.listening
        if at is not None:
            self._lease = self._desk.options.register(at.host, at.port)
            self._desk.options.started(at)

    def drain(self) -> None:
        """Take the instance out of everybody's picker."""
        self._desk.stages.advance(Stage.LAME_DUCK)
        if self._lease is not None:
            tell(self._lease.drain, self.drain_config.deregister)

    def leave(self) -> None:
        """End the lease."""
        lease, self._lease = self._lease, None
        if lease is not None:
            tell(lease.close, self.drain_config.deregister)


def bound(field: str, address: str, add: Callable[[], int]) -> int:
    """The port that was bound.  Raises ConfigError naming `field`."""
    try:
        return add()
    except RuntimeError as exc:  # all that grpcio has to say; the reason is in its log
        expected = "an address of this machine that nobody listens on"
        raise ConfigError(field, address, expected, hint="port 0 takes any free one") from exc


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host(address: str) -> str:
    host, _, _ = address.removeprefix("dns:").rpartition(":")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - grpcio's meaning
