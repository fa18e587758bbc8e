"""A WSGI service of two worker processes."""

from __future__ import annotations

import sys

import meshlib

mesh = meshlib.Mesh(sys.argv[1])


def hello(environ, start_response):
    """Say so."""
    start_response("200 OK", [("content-type", "application/json")])
    return [b'"hello"']


def announce(where):
    """Say that calls can come."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


mesh.run(hello, kind="wsgi", workers=2, started=announce)
