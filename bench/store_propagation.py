"""
How long a change takes from one process to another, and what waiting for it costs.

A writer process stamps documents and registrations with the machine's monotonic clock just before
it writes them; this process looks at its own clock when its watch wakes it.  So the latency holds
everything: lock, transaction, fsync for documents, the poll, reading, and the wake-up.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import IO

from _common import Result, at_most, name_of, run

from meshlib.control.local.plane import LocalControl
from meshlib.control.local.watcher import POLL
from meshlib.control.registry import Document, Registration
from meshlib.model import Bound

NAME = name_of(__file__)
CHANGES = 150
"""Of each kind; the 99th percentile is then the second worst."""
IDLE = 3.0
"""Seconds of waiting for nothing."""
SOON = 12.0
"""Seconds until changes that have not arrived are given up."""
MAX_P99 = 100.0
"""Milliseconds: what the embedded store promises."""
MAX_CPU = 0.5
"""Per cent of one core, for one idle process."""


@dataclass
class Seen:
    """Latencies in milliseconds; the writer is told of each, so that it does the next."""

    writer: IO[str]
    latencies: list[float] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def add(self, stamp: str) -> None:
        """Note a change that was stamped then."""
        self.latencies.append((time.monotonic() - float(stamp)) * 1000)
        if len(self.latencies) == CHANGES:
            self.done.set()
        self.writer.write("\n")
        self.writer.flush()


def write(home: Path) -> None:
    """The writer: one change at a time, at moments that keep no step with the poll."""
    rng = random.Random(1)
    with LocalControl(home, validate=lambda _: None) as control:
        for _ in range(CHANGES):
            time.sleep(rng.uniform(0, POLL))
            control.put(Document("traffic-policy", "documents", {"at": repr(time.monotonic())}))
            sys.stdin.readline()
            time.sleep(rng.uniform(0, POLL))
            meta = {"at": repr(time.monotonic())}
            control.register(Registration("instances", "i1", "127.0.0.1", 8001, meta=meta))
            sys.stdin.readline()


def follow(control: LocalControl, writer: IO[str]) -> dict[str, Seen]:
    """Note every change that arrives."""
    documents, instances = Seen(writer), Seen(writer)
    followed, resolved = control.documents("documents"), control.endpoints("instances")

    def on_document() -> None:
        if followed.value:
            documents.add(followed.value[0].body["at"])

    def on_instance() -> None:
        if isinstance(resolved.value, Bound) and resolved.value.snapshot.endpoints:
            instances.add(resolved.value.snapshot.endpoints[0].meta["at"])

    followed.subscribe(on_document)
    resolved.subscribe(on_instance)
    return {"document": documents, "instance": instances}


def measure() -> Iterator[Result]:
    """All cases."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalControl(Path(folder), validate=lambda _: None) as control,
    ):
        command = [sys.executable, __file__, "--write", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None  # noqa: S101 - for the type checker
            seen = follow(control, child.stdin)
            arrived = all(each.done.wait(SOON) for each in seen.values())
            if not arrived:
                child.kill()
        for case, each in seen.items():
            yield from latencies(case, each, arrived=arrived)
        yield idle(control)


def latencies(case: str, seen: Seen, *, arrived: bool) -> Iterator[Result]:
    """The median and the 99th percentile."""
    detail = f"{len(seen.latencies)} of {CHANGES} changes, process to process"
    if not arrived:
        yield Result(NAME, case, None, "ms", f"<= {MAX_P99:g}", ok=False, detail=detail)
        return
    cuts = quantiles(seen.latencies, n=100, method="inclusive")
    yield at_most(NAME, f"{case} p50", cuts[49], MAX_P99, "ms", detail)
    yield at_most(NAME, f"{case} p99", cuts[98], MAX_P99, "ms", detail)


def idle(control: LocalControl) -> Result:
    """Per cent of a core that polling and heartbeats take when nothing happens."""
    control.register(Registration("idle", "i1", "127.0.0.1", 8001))
    cpu, wall = time.process_time(), time.monotonic()
    time.sleep(IDLE)
    share = 100 * (time.process_time() - cpu) / (time.monotonic() - wall)
    detail = f"CPU of a process over {IDLE:g} s: one lease, two watches"
    return at_most(NAME, "idle", share, MAX_CPU, "% of a core", detail)


if __name__ == "__main__":
    if "--write" in sys.argv:
        write(Path(sys.argv[-1]))
    else:
        run(measure)
