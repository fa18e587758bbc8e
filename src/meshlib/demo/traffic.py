"""
The demo's load generator, and what it saw.

A request counts as a success when it was answered with 200 and with the city that was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from meshlib.demo.chance import percentile

Who: TypeAlias = tuple[str, str, str]
"""Service, version, instance."""

WINDOW = 5.0
"""Seconds that rates and percentiles look back."""
NOBODY: Who = ("backend", "-", "no answer")
_SHOWN_FAILURES = 5


@dataclass(slots=True)
class Line:
    """What one instance did."""

    requests: int = 0
    failures: int = 0
    recent: deque[tuple[float, bool, float]] = field(default_factory=lambda: deque(maxlen=5000))
    """When, whether it went well, milliseconds."""

    def add(self, now: float, ms: float, *, good: bool) -> None:
        """Count one answer."""
        self.requests += 1
        self.failures += not good
        self.recent.append((now, good, ms))

    def rates(self, now: float) -> tuple[float, float, float, float]:
        """Requests a second, success 0..1, p50 and p99 in ms, over the last `WINDOW` seconds."""
        while self.recent and self.recent[0][0] < now - WINDOW:
            self.recent.popleft()
        times = [ms for _, _, ms in self.recent]
        good = sum(well for _, well, _ in self.recent)
        share = good / len(times) if times else 1.0
        return len(times) / WINDOW, share, percentile(times, 0.5), percentile(times, 0.99)


class Tally:
    """Counts by instance, in total, and the first failures in words."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.requests = self.failures = 0
        self.lines: dict[Who, Line] = {}
        self.problems: list[str] = []
        """The first few failures, in words."""
        self.latest = ""
        """The latest one."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def good(self, who: Who, ms: float) -> None:
        """A request was answered as it should be."""
        self._count(who, ms, good=True)

    def bad(self, who: Who, ms: float, problem: str) -> None:
        """A request failed."""
        self.failures += 1
        self.latest = problem
        if len(self.problems) < _SHOWN_FAILURES:
            self.problems.append(problem)
        self._count(who, ms, good=False)

    def line(self, who: Who) -> Line:
        """What one instance did; a new line for a new instance."""
        return self.lines.setdefault(who, Line())

    def hop(self, who: Who, ms: float) -> None:
        """A hop of a request that is counted elsewhere."""
        self.line(who).add(self._clock(), ms, good=True)

    def of_instance(self, instance: str) -> int:
        """Requests that `instance` answered well."""
        found = (line for (_, _, name), line in self.lines.items() if name == instance)
        return sum(line.requests - line.failures for line in found)

    def versions(self, service: str) -> Counter[str]:
        """Requests by version of a service."""
        counts: Counter[str] = Counter()
        for (name, version, _), line in self.lines.items():
            if name == service and version != NOBODY[1]:
                counts[version] += line.requests
        return counts

    async def reached(self, requests: int) -> None:
        """Wait until so many requests have finished, well or not."""
        if self.requests < requests:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((requests, future))
            await future

    def _count(self, who: Who, ms: float, *, good: bool) -> None:
        self.requests += 1
        self.line(who).add(self._clock(), ms, good=good)
        for requests, future in self._waiting:
            if self.requests >= requests and not future.done():
                future.set_result(None)


class Load:
    """Asks for one city after another through one client."""

    def __init__(
        self, client: httpx.AsyncClient, prefix: str, cities: Iterable[str], *tallies: Tally
    ) -> None:
        self._client, self._prefix, self._tallies = client, prefix, tallies
        self._cities = itertools.cycle(cities)

    @contextlib.asynccontextmanager
    async def running(self, workers: int, *, pause: float = 0.0) -> AsyncIterator[None]:
        """Ask with so many workers at once for as long as the block runs.

        Requests in flight at its end are finished, not cut off.
        """
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(stop, pause))
            try:
                yield
            finally:
                stop.set()

    async def _work(self, stop: asyncio.Event, pause: float) -> None:
        while not stop.is_set():
            await self.ask(next(self._cities))
            await _rest(stop, pause)

    async def ask(self, city: str) -> Mapping[str, Any]:
        """Ask for one city and count the answer; returns it, or an empty one."""
        begun = time.perf_counter()
        told: dict[str, Any] = {}
        try:
            response = await self._client.get(f"{self._prefix}{city}")
            told = response.json()
        except (httpx.HTTPError, ValueError) as exc:
            problem = f"{city}: {type(exc).__name__}: {exc}"
        else:
            right = response.status_code == httpx.codes.OK and told.get("zone") == city
            problem = "" if right else f"{city}: {response.status_code} {told.get('error', told)}"
        ms = (time.perf_counter() - begun) * 1000
        for tally in self._tallies:
            _count(tally, told, ms, problem)
        return told


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait, at most until `stop`; let others run even if there is nothing to wait for."""
    if not seconds:
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _count(tally: Tally, told: Mapping[str, Any], ms: float, problem: str) -> None:
    """Count an answer where it came from, and the hops it says it took."""
    who = _who(told.get("served_by"))
    backend_ms = ms
    if "frontend" in told:
        tally.hop(_who(told["frontend"]), ms)
        backend_ms = told.get("ms", ms)
    if "database" in told:
        tally.hop(_who(told["database"]), told["database"]["ms"])
    if problem:
        tally.bad(who, backend_ms, problem)
    else:
        tally.good(who, backend_ms)


def _who(told: Mapping[str, str] | None) -> Who:
    return (told["service"], told["version"], told["instance"]) if told else NOBODY
