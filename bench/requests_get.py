"""A GET by requests through the whole mesh over mTLS, against plain requests over plaintext."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from statistics import median

import requests
from _common import Result, at_most, interleaved, name_of, ratio, run, spread
from async_get import servers

from meshlib import Mesh

ROUNDS = 11
CALLS = 300


def p50(session: requests.Session, url: str) -> float:
    """The median latency of `CALLS` calls, one after the other, in seconds."""
    latencies = []
    for _ in range(CALLS):
        began = time.perf_counter()
        response = session.get(url)
        latencies.append(time.perf_counter() - began)
        assert response.ok  # noqa: S101 - a bench of errors is none
    return median(latencies)


def measure() -> Iterator[Result]:
    """See the module."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["MESHLIB_HOME"] = home
        with (
            servers(home) as address,
            Mesh("bench") as mesh,
            mesh.requests_session() as through,
            requests.Session() as plain,
        ):
            plain.trust_env = False
            contenders = {
                "mesh": lambda: p50(through, "http://server/"),
                "plain": lambda: p50(plain, address),
            }
            costs = interleaved(contenders, rounds=ROUNDS)
    ours, theirs = costs["mesh"], costs["plain"]
    detail = f"{median(ours) * 1e6:.0f} us against {median(theirs) * 1e6:.0f} us"
    yield at_most(
        name_of(__file__),
        "p50, mesh/plain",
        ratio(ours, theirs),
        1.15,
        "x",
        f"{detail}; {spread(ours, theirs)}",
    )


if __name__ == "__main__":
    run(measure)
