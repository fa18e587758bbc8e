"""Programs under `meshlib run`, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PATIENCE = 30.0
"""Seconds a program may take to end."""
RUN = (sys.executable, "-m", "meshlib", "run")


class Program:
    """One of them; `process` is its launcher."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        """What it wrote, once it has ended."""

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for its end; returns the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        self.said += self.process.communicate(timeout=_PATIENCE)[0]
        return self.process.returncode


@contextmanager
def launched(
    service: str, *command: str, run: tuple[str, ...] = (), cwd: Path | None = None, **environ: str
) -> Iterator[Program]:
    """Run `command` as `service` while the block lasts; `run` are options of `meshlib run`."""
    process = subprocess.Popen(  # noqa: S603 - a test's own
        [*RUN, "--service", service, *run, "--", *command],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    program = Program(process)
    try:
        yield program
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """The whole of its group: a launcher that was killed could not tell the program."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
