"""
How overloaded this process is, measured.

Lag: in an event loop, how late a timer fires; for threads, how late a thread wakes up, which is how
long work waits for the interpreter and the processor.  CPU: of the cgroup's quota where there is
one, as a container is throttled by it long before the machine is busy; else of the processors that
this process may use.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Protocol

from meshlib.policy.shed import Shedder
from meshlib.runtime import Clock

_CGROUP = Path("/sys/fs/cgroup")


class Meter(Protocol):
    """Processor time used."""

    def share(self) -> float:
        """Of what might have been used since the last question; 0.0 the first time."""


class CpuMeter:
    """Of this process's cgroup, or of the process."""

    def __init__(self, clock: Clock, cgroup: Path = _CGROUP) -> None:
        self._clock, self._cgroup = clock, cgroup
        self.cores = quota_of(cgroup)
        """The quota in processors; 0.0 without one."""
        self._usable = self.cores or float(_usable_cores())
        self._last: tuple[float, float] | None = None

    def share(self) -> float:
        """Of what might have been used since the last question; 0.0 the first time."""
        now, used = self._clock(), self._used()
        before, self._last = self._last, (now, used)
        if before is None or now <= before[0]:
            return 0.0
        return (used - before[1]) / (now - before[0]) / self._usable

    def _used(self) -> float:
        used = _usage_of(self._cgroup) if self.cores else None
        return time.process_time() if used is None else used


def quota_of(cgroup: Path) -> float:
    """Processors a cgroup (version 2 or 1) may use; 0.0 when it may use all."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota = _line(cgroup / "cpu" / "cpu.cfs_quota_us")
        period = _line(cgroup / "cpu" / "cpu.cfs_period_us")
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return 0.0  # "max", "-1", or no such file
    return int(quota) / int(period)


def _usage_of(cgroup: Path) -> float | None:
    """Seconds of processor time that a cgroup has used."""
    for line in _text(cgroup / "cpu.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value) / 1e6
    nanoseconds = _line(cgroup / "cpuacct" / "cpuacct.usage")
    return int(nanoseconds) / 1e9 if nanoseconds.isdecimal() else None


def _line(path: Path) -> str:
    return _text(path).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Sensor:
    """Measures from the first request on, for as long as somebody holds on to it."""

    def __init__(
        self, shedder: Shedder, interval: float, clock: Clock, cpu: Meter | None = None
    ) -> None:
        self._shedder, self._interval, self._clock = shedder, interval, clock
        self._cpu = cpu or CpuMeter(clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self._pid = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def watch_loop(self) -> None:
        """Measure the running event loop; cheap to call again and again."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._next(loop)

    def watch_threads(self) -> None:
        """Measure how long a thread waits; cheap to call again and again, also after a fork."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="meshlib-load", daemon=True).start()

    def stop(self) -> None:
        """Measure no more."""
        self._stopped.set()

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._interval
        loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._loop and not self._stopped.is_set():
            self._shedder.measured(lag=loop.time() - self._due, cpu=self._cpu.share())
            self._next(loop)

    def _run(self) -> None:
        due = self._clock() + self._interval
        while not self._stopped.wait(due - self._clock()):
            now = self._clock()
            self._shedder.measured(lag=now - due, cpu=self._cpu.share())
            due = now + self._interval
