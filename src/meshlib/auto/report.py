"""
What processes beneath `meshlib run` tell it: one line an event, in a file it reads.

A file, not a pipe: children that close all descriptors have a say as well, and a launcher that is
gone holds nobody up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

FILE = "MESHLIB_LAUNCH_REPORT"
"""The variable that names the file."""
NAME = "meshlib-run"
"""What the file's own name begins with."""
LAUNCHER = "MESHLIB_LAUNCHER"
"""The variable with the launcher's process id."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line: `begun`, `refused` (a Python without meshlib), or `serving` at an address."""

    event: str
    pid: int
    host: str = ""
    port: int = 0


def say(
    event: str, host: str = "-", port: int = 0, environ: Mapping[str, str] = os.environ
) -> None:
    """Tell the launcher, if there is one."""
    path = environ.get(FILE)
    if not path or not is_ours(path):
        return
    line = f"{event} {os.getpid()} {host} {port}\n".encode()
    with contextlib.suppress(OSError):  # the launcher is gone, and nobody wants to know
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line)  # short, so it is written at once (POSIX, O_APPEND)
        finally:
            os.close(descriptor)


def is_ours(path: str) -> bool:
    """Whether that is the file of a launcher, and not of who has the process id of a dead one."""
    try:
        return not path.startswith("/proc/") or NAME in os.readlink(path)  # noqa: PTH115 - as below
    except OSError:  # the launcher is gone
        return False


def read(path: str) -> list[Said]:
    """What has been said so far."""
    with open(path, encoding="utf-8") as lines:  # noqa: PTH123 - pathlib costs 10 ms
        return [_parsed(line) for line in lines if line.endswith("\n")]


def _parsed(line: str) -> Said:
    event, pid, host, port = line.split()
    return Said(event, int(pid), host, int(port))
