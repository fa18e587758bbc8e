"""What `meshlib run` adds to the start of a program that loads Flask and requests, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from statistics import median

from _common import Result, at_most, interleaved, name_of, run, wall_seconds

ROUNDS = 15
PROGRAM = (sys.executable, "-c", "import flask, requests")
LAUNCHED = (sys.executable, "-m", "meshlib", "run", "--service", "bench", "--", *PROGRAM)


def start(command: tuple[str, ...], home: str) -> float:
    """Seconds a command takes from its start to its end."""
    environ = {**os.environ, "MESHLIB_HOME": home}
    return wall_seconds(lambda: subprocess.run(command, check=True, env=environ))


def measure() -> Iterator[Result]:
    """See the module."""
    with tempfile.TemporaryDirectory() as home:
        contenders = {
            "alone": lambda: start(PROGRAM, home),
            "launched": lambda: start(LAUNCHED, home),
        }
        costs = interleaved(contenders, rounds=ROUNDS)
    both = zip(costs["launched"], costs["alone"], strict=True)
    more = median((launched - alone) * 1e3 for launched, alone in both)
    case = "meshlib run, over the program alone"
    yield at_most(name_of(__file__), case, more, 250, "ms")


if __name__ == "__main__":
    run(measure)
