"""A Flask application that calls another one with requests: `python frontend.py PORT BACKEND`."""

from __future__ import annotations

import os
import sys

import requests
from flask import Flask, request

app = Flask(__name__)
session = requests.Session()
BACKEND = os.environ.get("BACKEND", "http://127.0.0.1:5001")


@app.get("/")
def index() -> dict[str, object]:
    """What the backend says of us."""
    passed_on = {name: value for name, value in request.headers if name == "Traceparent"}
    answer = session.get(f"{BACKEND}/whoami", headers=passed_on, timeout=10)
    answer.raise_for_status()
    return {"backend": answer.json()}


if __name__ == "__main__":
    BACKEND = sys.argv[2] if len(sys.argv) > 2 else BACKEND
    app.run("127.0.0.1", int(sys.argv[1]))
