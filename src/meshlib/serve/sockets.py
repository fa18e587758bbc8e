"""Listening sockets, made before anything else so that a port in use is known at once."""

from __future__ import annotations

import errno
import socket

from meshlib.errors import ConfigError

BACKLOG = 2048
"""Connections the kernel holds while the server is busy: uvicorn's and gunicorn's default."""

_ELSEWHERE = ("192.0.2.1", 9)
"""For documentation (RFC 5737): nothing is sent, the kernel only says by which way it would be."""

_EXPECTED = {
    errno.EADDRINUSE: "an address nobody listens on",
    errno.EADDRNOTAVAIL: "an address of this machine",
    errno.EACCES: "a port this user may listen on",
}


def listen(host: str, port: int, *, field: str, shared: bool = False) -> socket.socket:
    """Listen on `host` and `port` (0: any free one).  Raises ConfigError naming `field`.

    A `shared` address may be listened on by several processes of this user, side by side.
    """
    address = f"{host}:{port}"
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as exc:
        where_from = "host" if field == "port" else field
        raise ConfigError(where_from, host, f"a host that resolves ({exc})") from exc
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared and hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        expected = _EXPECTED.get(exc.errno or 0, f"an address to listen on ({exc})")
        raise ConfigError(field, address, expected, hint="port 0 takes any free one") from exc
    return sock


def address_of(sock: socket.socket) -> tuple[str, int]:
    """Host and port a socket is bound to."""
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


def reachable(host: str) -> str:
    """Where others find who listens at `host`: a wildcard is an address for nobody.

    It stands for the address this machine calls others from; without a network, for itself.
    """
    if host not in {"", "0.0.0.0", "::", "*"}:  # noqa: S104 - it is recognised, not bound
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(_ELSEWHERE)
        except OSError:
            return "127.0.0.1"
        found: str = sock.getsockname()[0]
        return found
