"""A Flask application that asks two others, in several ways, and knows no mesh."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests
from flask import Flask

app = Flask(__name__)
pool = ThreadPoolExecutor(4)
"""Its threads are there before, and between, requests."""


def ask(service: str) -> dict[str, str]:
    """What that one was told."""
    told: dict[str, str] = requests.get(f"http://{service}/", timeout=20).json()
    return told


@app.get("/<way>")
def fan_out(way: str) -> dict[str, object]:
    """What the two were told."""
    return {"there": WAYS[way]()}


def by_pool() -> list[dict[str, str]]:
    """One of this program's own."""
    return list(pool.map(ask, ("one", "two")))


def by_new_pool() -> list[dict[str, str]]:
    """One of this request's own."""
    with ThreadPoolExecutor(2) as mine:
        return [each.result() for each in [mine.submit(ask, "one"), mine.submit(ask, "two")]]


def by_threads() -> list[dict[str, str]]:
    """A thread for each."""
    told: dict[str, dict[str, str]] = {}
    threads = [
        threading.Thread(target=lambda name=name: told.update({name: ask(name)}))
        for name in ("one", "two")
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return [told["one"], told["two"]]


WAYS: dict[str, Callable[[], list[dict[str, str]]]] = {
    "pool": by_pool,
    "new-pool": by_new_pool,
    "threads": by_threads,
}
