"""
A GET by requests through the whole mesh over mTLS, against plain requests over plaintext.

Both ask the same application under uvicorn with the same settings, each in a process of its own,
by a `Session` that keeps one connection and looks at no environment.  So the first ratio, that of
the latencies, contains what the mesh does in the client and in the server, and TLS on both sides.
The second is that of the CPU time of the calling thread (so it leaves out the server and whoever
else is using the machine); nothing was promised of it.
"""

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


def p50(session: requests.Session, url: str, cpu: list[float]) -> float:
    """The median latency of `CALLS` calls, one after the other, in seconds; `cpu` grows by one."""
    latencies = []
    burnt = time.thread_time()
    for _ in range(CALLS):
        began = time.perf_counter()
        response = session.get(url)
        latencies.append(time.perf_counter() - began)
        assert response.ok  # noqa: S101 - a bench of errors is none
    cpu.append((time.thread_time() - burnt) / CALLS)
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
            plain.trust_env = False  # as the mesh has it
            burnt: dict[str, list[float]] = {"mesh": [], "plain": []}
            contenders = {
                "mesh": lambda: p50(through, "http://server/", burnt["mesh"]),
                "plain": lambda: p50(plain, address, burnt["plain"]),
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
    yield _of_cpu(burnt["mesh"][-ROUNDS:], burnt["plain"][-ROUNDS:])


def _of_cpu(ours: list[float], theirs: list[float]) -> Result:
    """The CPU seconds of a call, in the thread that calls."""
    detail = f"{median(ours) * 1e6:.0f} us against {median(theirs) * 1e6:.0f} us"
    value = ratio(ours, theirs)
    return Result(
        name_of(__file__), "CPU, mesh/plain", value, "x", detail=f"{detail}; {spread(ours, theirs)}"
    )


if __name__ == "__main__":
    run(measure)
