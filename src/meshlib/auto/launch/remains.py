"""What is left of a program whose first process has ended."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator

MOMENT = 1.0
"""Seconds that processes are given to end after the one that started them, as multiprocessing's
resource tracker does beneath uvicorn and hypercorn."""


def is_anybody_left(alive: int, mark: str, moment: float = MOMENT) -> bool:
    """Whether processes go on after a moment.

    They hold the other end of the pipe `alive`, or have closed all they inherited and have `mark`
    in their environment; without a /proc the latter are not seen.
    """
    until = time.monotonic() + moment
    if not select.select([alive], [], [], moment)[0]:
        return True
    return any(_outlives(process, until) for process in _marked(mark.encode()))


def _outlives(process: int, until: float) -> bool:
    """Whether that process is still there by then."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel that cannot tell of an end
        return True
    try:
        return not select.select([handle], [], [], max(0.0, until - time.monotonic()))[0]
    finally:
        os.close(handle)


def _marked(mark: bytes) -> Iterator[int]:
    for name in os.listdir("/proc") if sys.platform == "linux" else ():  # noqa: PTH208 - pathlib costs 10 ms
        with contextlib.suppress(OSError):  # another's, or it has ended
            if name.isdigit() and mark in _read(f"/proc/{name}/environ").split(b"\0"):
                yield int(name)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return file.read()
