"""
The demo's processes: each in a process group of its own, each ended by its own pid.

A child's standard input is a pipe that only this process holds the other end of, and the child
leaves when it closes; so none is left over even if this process is killed with -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshlib.errors import MeshError

GRACE = 15.0
"""Seconds a process may take to drain before it is killed."""
_LAST_LINES = 12


class DemoError(MeshError):
    """The demo itself could not go on."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to start."""

    service: str
    version: str
    instance: str
    extra: tuple[str, ...] = ()


class Member:
    """One process that was started."""

    def __init__(self, name: str, process: Process, log: Path, program: Program | None) -> None:
        self.name, self.log, self.program = name, log, program
        """The program is None for what is no instance of the mesh."""
        self._process = process

    @property
    def pid(self) -> int:
        """Process id, and the id of its group."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def ended(self) -> int:
        """Wait for the exit code."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """End the whole group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n        ".join(lines[-_LAST_LINES:]) or "it wrote nothing"


class Fleet:
    """Starts processes, and leaves none behind."""

    def __init__(self, home: Path, control: str) -> None:
        self._home, self.control = home, control
        """What the processes are told of the control plane."""
        self.members: dict[str, Member] = {}
        """By instance, the ended ones included."""

    async def start(self, program: Program) -> Member:
        """Start a process; it is not ready yet."""
        return await self.launch(program.instance, self._command(program), program)

    async def launch(
        self, name: str, command: Sequence[str], program: Program | None = None
    ) -> Member:
        """Start any process in a group of its own, with a log of its own."""
        log = self._home / "logs" / f"{name}.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,
            )
        member = self.members[name] = Member(name, process, log, program)
        return member

    async def stop(self, member: Member) -> int:
        """Ask a process to drain and leave, kill it after `GRACE`; returns its exit code."""
        member.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE):
                return await member.ended()
        except TimeoutError:
            member.kill()
            return await member.ended()

    async def close(self) -> None:
        """Stop everything that runs; what the mesh stands on last."""
        running = self.running()
        await asyncio.gather(*(self.stop(each) for each in running if each.program))
        await asyncio.gather(*(self.stop(each) for each in running if not each.program))
        self.kill()

    def kill(self) -> None:
        """End everything at once, groups whose leader has gone included."""
        for member in self.members.values():
            member.kill()

    def running(self) -> list[Member]:
        """The processes that have not ended."""
        return [member for member in self.members.values() if member.code is None]

    def _command(self, program: Program) -> list[str]:
        given = {
            "--version": program.version,
            "--instance": program.instance,
            "--home": str(self._home),
            "--control": self.control,
        }
        options = [word for pair in given.items() for word in pair]
        module = f"meshlib.demo.{program.service}"
        return [sys.executable, "-m", module, *options, "--leash", *program.extra]
