"""`meshlib demo` as one watches it: traffic runs, a canary grows, a table shows what happens."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from math import inf
from typing import Any

from meshlib.demo.board import Board, Row, line, row, table
from meshlib.demo.fleet import Fleet
from meshlib.demo.health import healths
from meshlib.demo.stage import SERVICES, Options, Stage, staged
from meshlib.demo.traffic import Line, Tally, Who

STEPS = ((12.0, 90.0), (6.0, 80.0), (6.0, 70.0), (6.0, 60.0), (inf, 50.0))
"""Seconds to stay, and v1's percentage."""
ASKERS, PAUSE = 4, 0.1
"""Four askers that rest 100 ms between requests: some 35 requests a second."""
_ONE_LINE_EVERY = 5.0
_REDRAW_EVERY = 0.5
_ASK_HEALTH_EVERY = 2.0


async def watch(options: Options, fleet_made: Callable[[Fleet], None]) -> int:
    """Run until the duration is over or the task is cancelled; returns the exit code."""
    print("starting five processes, each with an identity of its own", flush=True)
    async with staged(options, fleet_made) as stage:
        print(f"the page is at http://{stage.edge}/", flush=True)
        view = View(stage)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.duration), asyncio.TaskGroup() as group:
                group.create_task(view.traffic())
                group.create_task(view.canary(options.duration))
                group.create_task(view.follow_split())
                group.create_task(view.ask_health())
                group.create_task(view.display())
    return 0


class View:
    """What is known of the running demo, and the tasks that keep it true."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._tally = stage, Tally()
        self._begun = time.monotonic()
        self._split: Mapping[str, float] = {}
        self._before: Counter[str] = Counter()
        self._healths: dict[str, dict[str, Any]] = {}

    async def traffic(self) -> None:
        """Ask through the edge, without end."""
        async with (
            self._stage.through_the_edge(self._tally) as load,
            load.running(ASKERS, pause=PAUSE),
        ):
            await asyncio.Event().wait()

    async def canary(self, duration: float | None) -> None:
        """Move the split step by step; a short demo walks faster."""
        walk = sum(seconds for seconds, _ in STEPS if seconds < inf)
        pace = min(1.0, 0.75 * duration / walk) if duration else 1.0
        for seconds, share in STEPS:
            ours = {"v1": share, "v2": 100 - share}
            await self._stage.split(ours)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == inf else seconds * pace):
                    # Somebody who sets another split meanwhile has the wheel.
                    await self._stage.split_is_not(ours)
                    return

    async def follow_split(self) -> None:
        """Keep the split that is set, and count what is seen from its beginning."""
        while True:
            self._split = await self._stage.split_is_not(self._split)
            self._before = self._tally.versions("backend")

    async def ask_health(self) -> None:
        """Keep what the instances say of themselves."""
        async for _ in _every(_ASK_HEALTH_EVERY):
            endpoints = [e for service in SERVICES for e in self._stage.endpoints(service)]
            self._healths |= await healths(endpoints, self._stage.mesh.credentials.value)

    async def display(self) -> None:
        """Redraw the table, or print a line now and then without a terminal."""
        await (self._draw() if sys.stdout.isatty() else self._tell())

    async def _draw(self) -> None:
        from rich.live import Live

        with Live(auto_refresh=False) as live:
            async for _ in _every(_REDRAW_EVERY):
                live.update(table(self.board()), refresh=True)

    async def _tell(self) -> None:
        async for _ in _every(_ONE_LINE_EVERY):
            print(line(self.board(), self._tally, time.monotonic()), flush=True)

    def board(self) -> Board:
        """All that is to be shown now."""
        return Board(
            url=f"http://{self._stage.edge}/",
            rows=tuple(self._rows()),
            split=self._split,
            seen=self._tally.versions("backend") - self._before,
            requests=self._tally.requests,
            failures=self._tally.failures,
            seconds=time.monotonic() - self._begun,
            problem=self._tally.latest.splitlines()[0] if self._tally.latest else "",
        )

    def _rows(self) -> Iterator[Row]:
        now, ready = time.monotonic(), self._ready()
        for who in sorted(self._everybody(), key=_order):
            counted = self._tally.lines.get(who, Line())
            state = self._state(who[2], ready=who[2] in ready)
            yield row(who, counted, now, state, self._healths.get(who[2]))

    def _everybody(self) -> set[Who]:
        programs = (member.program for member in self._stage.fleet.members.values())
        started = {(each.service, each.version, each.instance) for each in programs if each}
        return started | self._tally.lines.keys()

    def _ready(self) -> set[str]:
        return {e.id for service in SERVICES for e in self._stage.endpoints(service)}

    def _state(self, instance: str, *, ready: bool) -> str:
        member = self._stage.fleet.members.get(instance)
        if member is not None and member.code is not None:
            return f"ended ({member.code})"
        return "ready" if ready else "-" if member is None else "not ready"


def _order(who: Who) -> tuple[int, Who]:
    return -SERVICES.index(who[0]) if who[0] in SERVICES else 1, who


async def _every(seconds: float) -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(seconds)
