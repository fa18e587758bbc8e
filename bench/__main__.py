"""
Run every bench: `make bench`, `make bench ARGS=--json`, `make bench ARGS="stack imports"`.

Each file of this folder is run as a program of its own and prints JSON lines; see `_common.py`.
The exit status is 0 whatever falls short: a number is news, not a failure.  A bench that crashes
is shown as a result of its own, which says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from _common import Result, table

HERE = Path(__file__).resolve().parent
SECONDS = float(os.environ.get("BENCH_TIMEOUT", "600"))


def crashed(name: str, why: str) -> Result:
    """The result of a bench that gave none."""
    return Result(name, "crashed", None, "", "", ok=False, detail=why)


def parsed(name: str, output: str) -> Iterator[Result]:
    """The results a bench printed."""
    for line in output.splitlines():
        try:
            yield Result(**json.loads(line))
        except (ValueError, TypeError):
            yield crashed(name, f"not a result: {line[:80]}")


def results(path: Path) -> Iterator[Result]:
    """Run one bench."""
    try:
        done = subprocess.run(
            [sys.executable, str(path), "--json"],
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield crashed(path.stem, f"no end after {SECONDS:g} s")
        return
    yield from parsed(path.stem, done.stdout)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        yield crashed(path.stem, f"exit {done.returncode}: {last}")
    elif not done.stdout.strip():
        yield crashed(path.stem, "it printed no result")


def chosen(names: list[str]) -> list[Path]:
    """The benches of these names, or all."""
    there = {path.stem: path for path in sorted(HERE.glob("[!_]*.py"))}
    unknown = [name for name in names if name not in there]
    if unknown:
        sys.exit(f"no bench called {', '.join(unknown)}; there are {', '.join(there)}")
    return [there[name] for name in names or there]


def main(arguments: list[str]) -> None:
    """Run and print them, each as soon as it ends."""
    as_json = "--json" in arguments
    for path in chosen([argument for argument in arguments if not argument.startswith("-")]):
        for result in results(path):
            line = result.to_json() if as_json else next(table([result]))
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
