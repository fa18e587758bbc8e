"""A service of the mesh: greets whoever calls it, by the name its caller proved."""

from __future__ import annotations

from typing import Any

from meshlib import Mesh

mesh = Mesh("greeter", version="v1")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Any ASGI application would do; this one is written out."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    caller = scope["state"]["mesh_peer"]
    body = f"hello {caller.service}, I am {mesh.instance}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Any, send: Any) -> None:
    """Start and stop with the server."""
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


if __name__ == "__main__":
    mesh.run(app, started=lambda where: print(f"listening on port {where.port}", flush=True))
