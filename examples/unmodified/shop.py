"""A shop window: Flask, and requests for what it asks of others.  It has never heard of a mesh."""

from __future__ import annotations

import os

import requests
from flask import Flask

STOCK = os.environ.get("STOCK_URL", "http://127.0.0.1:8001")

app = Flask(__name__)
stock = requests.Session()


@app.get("/")
def window() -> dict[str, object]:
    """What there is today."""
    answer = stock.get(f"{STOCK}/items/", timeout=5)
    answer.raise_for_status()
    return {"open": True, "items": answer.json()["items"]}


@app.get("/items/<name>")
def item(name: str) -> tuple[dict[str, object], int]:
    """One of them, as the stock has it."""
    answer = stock.get(f"{STOCK}/items/{name}", timeout=5)
    if answer.status_code != requests.codes.not_found:
        answer.raise_for_status()
    return answer.json(), answer.status_code


@app.errorhandler(requests.RequestException)
def dark(error: requests.RequestException) -> tuple[dict[str, object], int]:
    """The stock is away, or will not tell."""
    return {"open": False, "why": str(error)}, 502


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
