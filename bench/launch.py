"""
What `meshlib run` adds to the start of a program that calls and serves nothing.

    python bench/launch.py [ROUNDS]

Alone and launched in turn, so that a noisy machine is noisy to both; the median of the differences
is what counts, and 250 ms is the most it may be.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

PROGRAM = (sys.executable, "-c", "import flask, requests")
LAUNCHED = (sys.executable, "-m", "meshlib", "run", "--service", "bench", "--", *PROGRAM)
MOST = 0.250
"""Seconds, of the issue."""


def seconds(command: tuple[str, ...]) -> float:
    """How long it takes from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Measure, and print one line."""
    seconds(PROGRAM), seconds(LAUNCHED)  # byte code is written, and files are in memory
    pairs = [(seconds(PROGRAM), seconds(LAUNCHED)) for _ in range(rounds)]
    more = statistics.median(launched - alone for alone, launched in pairs)
    line = {
        "bench": "launch",
        "alone_ms": round(statistics.median(alone for alone, _ in pairs) * 1000),
        "launched_ms": round(statistics.median(launched for _, launched in pairs) * 1000),
        "more_ms": round(more * 1000),
        "most_ms": round(MOST * 1000),
        "ok": more <= MOST,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
