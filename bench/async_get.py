"""An asynchronous GET through the whole mesh over mTLS, against plain httpx over plaintext."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
from _common import Result, at_least, at_most, name_of, ratio, run, spread

from meshlib import Mesh

ROUNDS = 9
CALLS = 480
BOTH = Path(__file__).parent / "_servers.py"


@contextmanager
def servers(home: str) -> Iterator[str]:
    """The same application twice: in the mesh, and by itself; gives the latter's address."""
    command = [sys.executable, str(BOTH)]
    environment = {**os.environ, "MESHLIB_HOME": home}
    processes = [
        subprocess.Popen([*command, kind], env=environment, stdout=subprocess.PIPE, text=True)
        for kind in ("mesh", "plain")
    ]
    try:
        _, address = (process.stdout.readline().strip() for process in processes if process.stdout)
        yield address
    finally:
        for process in processes:
            process.terminate()
            process.communicate()


async def calls(client: httpx.AsyncClient, url: str, concurrency: int) -> tuple[float, float]:
    """The median latency and the seconds a call took, over `CALLS` calls."""
    latencies: list[float] = []

    async def one_after_the_other() -> None:
        for _ in range(CALLS // concurrency):
            began = time.perf_counter()
            response = await client.get(url)
            latencies.append(time.perf_counter() - began)
            assert response.status_code == httpx.codes.OK  # noqa: S101 - a bench of errors is none

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
    return median(latencies), (time.perf_counter() - began) / CALLS


async def compare(address: str) -> list[Result]:
    """Both clients in turns, alone and sixteen at a time."""
    name = name_of(__file__)
    costs: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with Mesh("bench") as mesh:
        async with mesh.async_client() as through, httpx.AsyncClient(trust_env=False) as plain:
            for number in range(ROUNDS + 1):
                for concurrency in (1, 16):
                    turns = [("mesh", through, "http://server/"), ("plain", plain, address)]
                    for kind, client, url in turns if number % 2 else reversed(turns):
                        cost = await calls(client, url, concurrency)
                        if number:
                            costs.setdefault((kind, concurrency), []).append(cost)
    alone = [[cost[0] for cost in costs[kind, 1]] for kind in ("mesh", "plain")]
    many = [[cost[1] for cost in costs[kind, 16]] for kind in ("mesh", "plain")]
    detail = f"{median(alone[0]) * 1e6:.0f} us against {median(alone[1]) * 1e6:.0f} us"
    rates = f"{1 / median(many[0]):.0f}/s against {1 / median(many[1]):.0f}/s"
    return [
        at_most(
            name,
            "p50 at concurrency 1, mesh/plain",
            ratio(*alone),
            0.8,
            "x",
            f"{detail}; {spread(*alone)}",
        ),
        at_least(
            name,
            "throughput at concurrency 16, mesh/plain",
            ratio(many[1], many[0]),
            3,
            "x",
            f"{rates}; {spread(many[1], many[0])}",
        ),
    ]


def measure() -> Iterator[Result]:
    """See the module."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["MESHLIB_HOME"] = home
        with servers(home) as address:
            yield from asyncio.run(compare(address))


if __name__ == "__main__":
    run(measure)
