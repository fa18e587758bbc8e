"""
Who a process is, and whether it still is.

A process id alone says little: it is used again, and means something else in a container.  With
the boot, the pid namespace and the start time beside it, it names one process for ever; where the
system does not tell those (no /proc), the id alone must do, and a time to live does the rest.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process on one boot of one machine; empty fields are not known."""

    boot: str
    namespace: str
    pid: int
    started: str


def boot_id() -> str:
    """What changes with every boot, or the empty string."""
    return _read(_PROC / "sys/kernel/random/boot_id").strip()


def current() -> Process:
    """The process that asks."""
    pid = os.getpid()
    return Process(boot_id(), _namespace(), pid, _started(pid))


def is_gone(process: Process, here: Process) -> bool:
    """Whether `process` is known to have ended, as seen from `here`.

    False when it cannot be known: another pid namespace.  A process of another boot is gone.
    """
    if process.boot != here.boot:
        return True
    if process.namespace != here.namespace:
        return False
    if here.started:
        return _started(process.pid) != process.started
    return not _exists(process.pid)


def _namespace() -> str:
    with suppress(OSError):
        return str((_PROC / "self/ns/pid").readlink())
    return ""


def _started(pid: int) -> str:
    """Clock ticks from boot to the start of a process, or empty when it has ended (proc(5)).

    What follows the last parenthesis are the fields from the third on: state is the first, the
    start time the twentieth.  A zombie has ended; only its parent has not looked yet.
    """
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace")
    return ""
