"""What `import meshlib` costs over bare Python; the engines and servers load on first use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from _common import Result, at_most, interleaved, name_of, run, wall_seconds

ROUNDS = 15


def start(code: str) -> float:
    """Seconds a fresh interpreter takes to run `code`."""
    return wall_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))


def measure() -> Iterator[Result]:
    """See the module."""
    costs = interleaved(
        {
            "bare": lambda: start("pass"),
            "name": lambda: start("import meshlib"),
            "mesh": lambda: start("from meshlib import Mesh"),
        },
        rounds=ROUNDS,
    )
    for case, code in (("mesh", "from meshlib import Mesh"), ("name", "import meshlib")):
        over = [(mine - bare) * 1e3 for mine, bare in zip(costs[case], costs["bare"], strict=True)]
        yield at_most(name_of(__file__), f"{code}, over bare Python", median(over), 120, "ms")


if __name__ == "__main__":
    run(measure)
