"""A WSGI service that calls `told` from its handler in the way its path names."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import meshlib
from meshlib.serve.options import DrainConfig

mesh = meshlib.Mesh("wsgi")
http = mesh.client(timeout=None)
pool = ThreadPoolExecutor(2)


def ask():
    """What the next service was told with our call."""
    return http.get("http://told/").json()


def in_thread():
    """From a thread of the handler's own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join()
    return found[0]


WAYS = {
    "/handler": ask,
    "/thread": in_thread,
    "/submit": lambda: pool.submit(ask).result(),
    "/map": lambda: next(iter(pool.map(lambda _: ask(), [0]))),
}


def app(environ, start_response):
    """Answer with what was told."""
    body = json.dumps(WAYS[environ["PATH_INFO"]]()).encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]


def started(where):
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


mesh.run(app, kind="wsgi", started=started, drain=DrainConfig(lame_duck=0.0))
