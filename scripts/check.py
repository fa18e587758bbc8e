"""
Run every check in turn: `make check`, or `make check ARGS=mypy` for some of them.

One line a check; what a failing one printed follows it.  The summary at the end names the first
that failed.  Exit status 1 if any did.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable
LINT = ["-m", "ruff", "check", "--quiet", "--output-format", "concise"]
FORMAT = ["-m", "ruff", "format", "--quiet", "--output-format", "concise"]

CHECKS: dict[str, list[str]] = {
    "ruff": [PYTHON, *LINT, "."],
    "format": [PYTHON, *FORMAT, "--check", "."],
    "mypy": [PYTHON, "-m", "mypy", "--no-error-summary"],
    "layers": [str(BIN / "lint-imports"), "--no-cache"],
    "lengths": [PYTHON, "scripts/check_lengths.py"],
    "hygiene": [PYTHON, "scripts/check_hygiene.py"],
    "docs": [PYTHON, "-m", "pytest", "-q", "tests/test_docs.py"],
}

QUIET = {"layers", "docs"}
"""Checks whose output says nothing new when they pass."""


def run(name: str) -> bool:
    """Run one check, print its line and, when there is something to see, its output."""
    started = time.monotonic()
    done = subprocess.run(
        CHECKS[name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    passed = done.returncode == 0
    print(f"{'ok    ' if passed else 'FAILED'}  {name:<8} {time.monotonic() - started:5.1f} s")
    if not (passed and name in QUIET):
        sys.stdout.write("".join(f"        {line}\n" for line in done.stdout.splitlines()))
    sys.stdout.flush()
    return passed


def main(names: list[str]) -> int:
    """Run the named checks, or all."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check called {', '.join(unknown)}; there are {', '.join(CHECKS)}")
        return 2
    chosen = names or list(CHECKS)
    failed = [name for name in chosen if not run(name)]
    if failed:
        print(f"\n{len(failed)} of {len(chosen)} checks failed; the first is: {failed[0]}")
        return 1
    print(f"\nall {len(chosen)} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
