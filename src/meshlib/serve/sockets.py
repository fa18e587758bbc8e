"""Listening sockets, made before anything else so that a port in use is known at once."""

from __future__ import annotations

import errno
import socket

from meshlib.errors import ConfigError

BACKLOG = 2048
"""Connections the kernel holds while the server is busy: uvicorn's and gunicorn's default."""

_EXPECTED = {
    errno.EADDRINUSE: "an address nobody listens on",
    errno.EADDRNOTAVAIL: "an address of this machine",
    errno.EACCES: "a port this user may listen on",
}


def listen(host: str, port: int, *, field: str) -> socket.socket:
    """Listen on `host` and `port` (0: any free one).  Raises ConfigError naming `field`."""
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
