"""A Flask application that knows no mesh: `python backend.py PORT`."""

from __future__ import annotations

import os
import sys

from flask import Flask, request

app = Flask(__name__)


@app.get("/whoami")
def whoami() -> dict[str, object]:
    """Who asks, as far as the server can tell; alone it can tell nothing."""
    peer = request.environ.get("mesh.peer")
    return {
        "peer": None if peer is None else peer.service,
        "pid": os.getpid(),
        "traceparent": request.headers.get("traceparent"),
    }


@app.post("/echo")
def echo() -> bytes:
    """What was sent."""
    return request.get_data()


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]))
