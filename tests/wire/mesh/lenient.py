"""A service that tells who calls: `lenient.py asgi h11 asyncio`, `hypercorn` or `wsgi`."""

from __future__ import annotations

import json
import sys

import meshlib
from meshlib.serve.options import DrainConfig, PeerLimits

mesh = meshlib.Mesh("backend")


def told(peer, edge, priority, names, path):
    """What the application knows of a request."""
    if path == "/metrics":
        return mesh.metrics.text().encode()
    service = peer.service if peer else None
    return json.dumps([service, edge, priority, sorted(names)]).encode()


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    state, names = scope["state"], [name.decode().lower() for name, _ in scope["headers"]]
    known = state["mesh_peer"], state["mesh_edge"], state["mesh_priority"]
    body = told(*known, names, scope["path"])
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": body})
        await send({"type": "websocket.close"})
        return
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    names = [key[5:].lower().replace("_", "-") for key in environ if key.startswith("HTTP_")]
    known = environ["mesh.peer"], environ["mesh.edge"], environ["mesh.priority"]
    body = told(*known, names, environ["PATH_INFO"])
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]


def say(where):
    """To the test."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


kind, *choice = sys.argv[1:]
chosen = dict(zip(("http", "loop"), choice, strict=False))
if kind == "hypercorn":
    kind, chosen["server"] = "asgi", "hypercorn"
mesh.run(
    wsgi if kind == "wsgi" else asgi,
    kind=kind,
    drain=DrainConfig(lame_duck=0),
    limits=PeerLimits(handshake=1.0, head=1.0),
    started=say,
    **chosen,
)
