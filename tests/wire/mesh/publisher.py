"""A service that publishes a file: `publisher.py FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from meshlib import Mesh
from meshlib.serve.options import DrainConfig

FILE = Path(sys.argv[1])


def read():
    """What is in it now."""
    return FILE.read_bytes()


def say(port):
    """To the test."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": read()})


Mesh("publisher").run(app, drain=DrainConfig(lame_duck=0), started=lambda it: say(it.port))
