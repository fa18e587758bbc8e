"""A server in a process of its own: `child.py KIND CREDENTIALS OPTIONS`.

It tells on its standard output, one JSON array a line, what happens to it; credentials come
in a file, options as JSON.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import sys
from pathlib import Path

from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.serve import serve
from meshlib.serve.options import DrainConfig, Edge, PeerLimits, ServeOptions
from meshlib.testing.carried import carried
from meshlib.trust.verify import member_of
from meshlib.watch import Watch


def tell(*words):
    os.write(1, json.dumps(words).encode() + b"\n")


class Lease:
    def __init__(self, host, port):
        tell("register", host, port, os.getpid())

    def drain(self):
        tell("drain")

    def close(self):
        tell("close")


async def released():
    """Wait for a byte on standard input."""
    loop, here = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(0, here.set)
    try:
        await here.wait()
    finally:
        loop.remove_reader(0)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            step = (await receive())["type"]
            tell(step)
            await send({"type": f"{step}.complete"})
            if step == "lifespan.shutdown":
                return
    if scope["path"] == "/hold":
        tell("held")
        await released()
    peer = scope["state"]["mesh_peer"]
    body = json.dumps([peer and peer.service, scope["state"]["mesh_edge"]]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hold":
        tell("held")
        os.read(0, 1)
    if path == "/broken":
        raise FileNotFoundError("a file of the application's")
    if path == "/short":
        start_response("200 OK", [("Content-Length", "100")])
        return [b"abc"]
    if path == "/file":
        start_response("200 OK", [("Content-Length", "5")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"))
    if path == "/pid":
        body = str(os.getpid()).encode()
    else:
        peer = environ["mesh.peer"]
        body = json.dumps([peer and peer.service, environ["mesh.edge"]]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def main(kind, credentials, options):
    chosen = json.loads(options)
    if "edge" in chosen:
        chosen["edge"] = Edge.parse(chosen["edge"])
    chosen["drain"] = DrainConfig(**chosen.pop("drain", {}))
    chosen["limits"] = PeerLimits(**chosen.pop("limits", {}))
    if files := chosen.pop("files", None):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if kind == "hypercorn":
        chosen["server"] = kind
    tell("pid", os.getpid())
    serve(
        wsgi if kind == "wsgi" else asgi,
        ServeOptions(
            service="backend",
            instance="backend-1",
            credentials=Watch(carried(Path(credentials)), ready=True),
            authorize=member_of("example.org"),
            register=Lease,
            tracer=Passthrough(),
            listener=Quiet(),
            started=lambda where: tell("started", where.host, where.port, where.edge),
            **chosen,
        ),
    )
    tell("returned", os.getpid())


if __name__ == "__main__":
    main(*sys.argv[1:])
