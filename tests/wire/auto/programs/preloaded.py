"""A WSGI application that asks its backend when it is imported, and at each request."""

from __future__ import annotations

import os

import requests

BACKEND = os.environ["BACKEND"]
FIRST = requests.get(f"{BACKEND}/whoami", timeout=20).json()["peer"]
PARENT = os.getpid()


def app(environ, start_response):
    """Tell who we are to the backend: at import, and now."""
    now = requests.get(f"{BACKEND}/whoami", timeout=20).json()["peer"]
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{FIRST} {now} {os.getpid() != PARENT}".encode()]
