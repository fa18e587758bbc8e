"""
`meshlib run`: starts a program, hands signals on to it, and says what became of it.

The program is a child in the launcher's own process group, so that terminals and job control treat
both as one.  What is sent to the launcher alone is handed on; what has reached the program as well
- Ctrl-C, `kill -- -PGID`, a service manager that signals all it has started - is not, for the
second signal of a kind often means "at once".  Signals are blocked here and waited for, not
handled: nothing interrupts anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlib.auto import report
from meshlib.auto.launch import remains
from meshlib.auto.launch.canary import Canary

if TYPE_CHECKING:
    from meshlib.auto.report import Said

HANDED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    *(() if sys.stdin is None or sys.stdin.isatty() else (signal.SIGTTIN, signal.SIGTTOU)),
)
"""gunicorn is told by SIGTTIN and SIGTTOU to have more or fewer workers; at a terminal they mean
what they always mean."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""The exit codes of a shell (POSIX, 2.8.2)."""
PATIENCE = 10.0
"""Seconds until a program that was expected to serve, and does not, is told of."""
LONGEST_NAME = 60
"""Characters."""
_TURN = 0.25
"""Seconds between two looks at what it has said, as long as something is expected of it."""


class _Report:
    """The file that the program's processes write to, gone with the launcher even if it is killed.

    Where there is no such file, it is one in the temporary folder.
    """

    def __init__(self) -> None:
        if sys.platform == "linux" and os.path.exists("/proc/self/fd"):  # noqa: PTH110 - pathlib costs 10 ms
            self._handle = os.memfd_create(report.NAME)
            self.path = f"/proc/{os.getpid()}/fd/{self._handle}"
        else:
            self._handle, self.path = tempfile.mkstemp(prefix=f"{report.NAME}-")

    def close(self) -> None:
        """Remove it."""
        os.close(self._handle)
        if not self.path.startswith("/proc/"):
            os.unlink(self.path)  # noqa: PTH108 - as above


class Launched:
    """A program that runs, and what is known of it."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], port: int) -> None:
        self._name, self._port = name_of(command), port
        self._report = _Report()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (*HANDED_ON, signal.SIGCHLD))
        self._canary = Canary(HANDED_ON)
        self._alive, held = os.pipe()
        os.set_inheritable(held, True)  # noqa: FBT003 - positional only
        env = {**environ, report.FILE: self._report.path, report.LAUNCHER: str(os.getpid())}
        try:
            self.pid = os.posix_spawnp(command[0], list(command), env, setsigmask=before)
        except OSError:
            self._canary.close()
            self._report.close()
            raise
        finally:
            os.close(held)
            self._began = time.monotonic()
        self._sent: set[int] = set()

    def wait(self) -> int:
        """Wait for its end, and say what there is to say; returns its exit code."""
        while (status := self._ended()) is None:
            self._pass_on(self._heard())
            self._look()
        self._canary.close()
        code = os.waitstatus_to_exitcode(status)
        for line in remarks(self._seen(code)):
            tell(line)
        self._report.close()
        return code if code >= 0 else 128 - code

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None

    def _heard(self) -> int | None:
        """The next signal; none, if it is time to look at what the program has said."""
        signals = {*HANDED_ON, signal.SIGCHLD}
        if not self._port or sys.platform == "darwin":  # where there is no waiting for a while
            return signal.sigwait(signals)
        info = signal.sigtimedwait(signals, _TURN)
        return info and info.si_signo

    def _pass_on(self, number: int | None) -> None:
        if number is None or number == signal.SIGCHLD:
            return
        self._sent.add(number)
        if not self._canary.has_heard(number):
            os.kill(self.pid, number)

    def _look(self) -> None:
        """Compare the port that was expected with what it serves; told once."""
        if not self._port:
            return
        serving = [each for each in report.read(self._report.path) if each.event == "serving"]
        if serving and all(each.port != self._port for each in serving):
            tell(f"{self._name} serves at {_addresses(serving)}, and not at port {self._port}")
            self._port = 0
        elif serving:
            self._port = 0
        elif time.monotonic() - self._began > PATIENCE:
            words = f"has been up for {PATIENCE:.0f} s, and serves nothing at port {self._port}"
            tell(f"{self._name} {words}")
            self._port = 0

    def _seen(self, code: int) -> Seen:
        left = remains.is_anybody_left(self._alive, f"{report.LAUNCHER}={os.getpid()}")
        os.close(self._alive)
        said = tuple(report.read(self._report.path))
        return Seen(self._name, code, said, left, bool(self._port), self._sent)


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to be said about a program that has ended."""

    program: str
    code: int
    """Negative: the signal that ended it."""
    said: tuple[Said, ...]
    left: bool
    """Whether processes it forked are still there."""
    expected: bool
    """Whether it should have served, and did not."""
    sent: set[int]
    """Signals that were sent to it, by way of the launcher or not."""


def remarks(seen: Seen) -> list[str]:
    """What is worth a line."""
    said: list[str] = []
    if not seen.said:
        said.append(
            f"meshlib was never imported: {seen.program} is no Python program, or runs Python "
            "with -I, -E or -S, or with a PYTHONPATH of its own; it was not in the mesh"
        )
    if seen.code < 0 and -seen.code not in seen.sent:
        name = signal.Signals(-seen.code).name
        said.append(f"{seen.program} was ended by {name} (exit code {128 - seen.code})")
    elif seen.code > 0:
        said.append(f"{seen.program} ended with exit code {seen.code}")
    if seen.left:
        said.append(
            f"{seen.program} has left processes behind: a daemon goes on without a launcher; run "
            "it in the foreground to have its end seen"
        )
    elif seen.expected:
        said.append(f"{seen.program} never served anything")
    return said


def name_of(command: Sequence[str]) -> str:
    """What a program is called where it is told of."""
    words = " ".join(shlex.join(command).split())
    return words if len(words) <= LONGEST_NAME else f"{words[: LONGEST_NAME - 3]}..."


def launch(command: Sequence[str], environ: Mapping[str, str], port: int = 0) -> int:
    """Run a program until it ends; returns its exit code, 128+n for signal n.

    `port` is where it is expected to serve; 0: nowhere in particular.  Signals stay blocked in this
    process.
    """
    try:
        launched = Launched(command, environ, port)
    except OSError as exc:
        return _not_started(command[0], exc)
    return launched.wait()


def _not_started(program: str, error: OSError) -> int:
    found = os.path.exists(program)  # noqa: PTH110 - pathlib costs 10 ms
    if error.errno == errno.ENOENT and not found:
        tell(f"there is no program {program!r}: give a path, or the name of one that is on PATH")
        return NOT_FOUND
    tell(f"{program!r} cannot be started: {_why_not(program, error)}")
    return NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE


def _why_not(program: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "the interpreter that its first line names is not there"
    if error.errno == errno.ENOEXEC:
        return (
            "it is neither a binary of this machine nor a script with a first line like #!/bin/sh"
        )
    if os.path.isdir(program):  # noqa: PTH112 - as above
        return "it is a folder; name the program in it"
    if error.errno == errno.EACCES:
        return f"{error.strerror}; chmod +x makes it executable, or name what runs it before it"
    return str(error.strerror)


def tell(line: str) -> None:
    """Say something to who called `meshlib run`, if there is anybody who reads it."""
    if sys.stderr is None:
        return
    # once and at once: the program's end is what counts, and nothing is kept for later
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"meshlib run: {line}\n".encode(errors="replace"))


def _addresses(serving: Sequence[Said]) -> str:
    return ", ".join(dict.fromkeys(f"{each.host}:{each.port}" for each in serving))
