"""One small application, served in the mesh (`mesh`) or by a plain uvicorn (`plain`)."""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn

from meshlib import Mesh

BODY = b'{"city": "Berlin", "time": "12:00"}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def lifespan(receive: Any, send: Any) -> None:
    """Start and stop with the server."""
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


def plain() -> None:
    """Serve by itself, with the server settings the mesh uses."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=60)
    uvicorn.Server(config).run([listening])


def mesh() -> None:
    """Serve in the mesh."""
    with Mesh("server") as here:
        here.run(app, started=lambda listening: print(listening.port, flush=True))


if __name__ == "__main__":
    {"plain": plain, "mesh": mesh}[sys.argv[1]]()
