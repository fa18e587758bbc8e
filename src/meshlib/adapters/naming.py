"""Which service a URL means."""

from __future__ import annotations

from meshlib.errors import NoRoute


def service_of(scheme: str, host: str, port: int | None, path: str) -> str:
    """The service at a URL; raises NoRoute for one that no service can have."""
    if port is None and scheme in {"http", "https", "ws", "wss"} and host:
        return host
    where = f"{scheme}://{host}{'' if port is None else f':{port}'}{path}"
    raise NoRoute(
        f"{where} is not the URL of a mesh service",
        why="a service has neither a port nor a protocol of its own: the mesh chooses both",
        hint=f"write http://{host or 'SERVICE'}{path}",
    )
