"""The demo mesh while it runs: its home, its processes, its control plane and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from meshlib import Mesh
from meshlib.control.registry import ControlPlane
from meshlib.demo.agent import Agent
from meshlib.demo.canary import set_split, split_in
from meshlib.demo.fleet import DemoError, Fleet, Member, Program
from meshlib.demo.frontend import CITIES
from meshlib.demo.traffic import Load, Tally
from meshlib.errors import ConfigError
from meshlib.model import Bound, Endpoint
from meshlib.watch import Watch

SERVICES = ("database", "backend", "frontend")
START_LIMIT = 40.0
"""Seconds all processes may take to be ready: five Pythons on one slow core."""
SETTLE_LIMIT = 5.0
"""Seconds a change may take to be seen here; 100 ms is what the control plane promises."""
CLIENT = "demo-load"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    home: Path | None = None
    control: str = "local"
    port: int = 0
    faulty: bool = False
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.control not in {"local", "consul"} and not self.control.startswith("consul"):
            expected = "local, consul to start a Consul, or the URL of one (consul://...)"
            raise ConfigError("--control", self.control, expected)
        if not 0 <= self.port <= 65535:
            raise ConfigError("--port", self.port, "a port 0..65535")
        if self.duration is not None and self.duration <= 0:
            raise ConfigError("--duration", self.duration, "a number of seconds > 0")


def programs(options: Options, edge: str) -> list[Program]:
    """The processes of the demo."""
    faulty = ("--faulty",) if options.faulty else ()
    return [
        Program("database", "v1", "database-a"),
        Program("backend", "v1", "backend-v1-a"),
        Program("backend", "v1", "backend-v1-b"),
        Program("backend", "v2", "backend-v2-a", faulty),
        Program("frontend", "v1", "frontend-a", ("--edge", edge)),
    ]


class Stage:
    """What the scripted story and the live display both play on."""

    def __init__(
        self, home: Path, fleet: Fleet, mesh: Mesh, edge: str, agent: Agent | None = None
    ) -> None:
        self.home, self.fleet, self.edge, self.agent = home, fleet, edge, agent
        self._mesh = mesh
        self.total = Tally()

    @property
    def control(self) -> ControlPlane:
        """The control plane all processes share."""
        return self._mesh.control

    @property
    def mesh(self) -> Mesh:
        """The demo's own place in the mesh, as `demo-load`."""
        return self._mesh

    async def start(self, *wanted: Program) -> None:
        """Start processes and wait until the registry offers them to everybody.

        Raises DemoError with the end of its log when one ends instead.
        """
        members = [await self.fleet.start(program) for program in wanted]
        await asyncio.gather(*map(self.ready, members))

    async def ready(self, member: Member) -> None:
        """Wait until an instance is registered."""
        if member.program is None:
            return
        watch = self.control.endpoints(member.program.service)
        instance = member.name
        seen = asyncio.ensure_future(
            until(watch, lambda value: any(e.id == instance for e in endpoints_of(value)))
        )
        ended = asyncio.ensure_future(member.ended())
        try:
            await asyncio.wait(
                {seen, ended}, timeout=START_LIMIT, return_when=asyncio.FIRST_COMPLETED
            )
            if not seen.done():
                raise _not_ready(member)
        finally:
            seen.cancel()
            ended.cancel()

    async def split(self, weights: Mapping[str, float]) -> None:
        """Set the backend's split and wait until this process has heard of it."""
        set_split(self.control, "backend", weights)
        watch = self.control.documents("backend")
        async with asyncio.timeout(SETTLE_LIMIT):
            await until(watch, lambda documents: split_in(documents) == dict(weights))

    async def split_is_not(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Wait until the backend's split is another one, and return that."""
        watch = self.control.documents("backend")
        await until(watch, lambda documents: split_in(documents) != dict(weights))
        return split_in(watch.value)

    def endpoints(self, service: str) -> tuple[Endpoint, ...]:
        """The instances the registry offers now."""
        return endpoints_of(self.control.endpoints(service).value)

    @contextlib.asynccontextmanager
    async def through_the_edge(self, *tallies: Tally) -> AsyncIterator[Load]:
        """A load that enters like a browser."""
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=30, limits=limits, trust_env=False) as client:
            yield Load(client, f"http://{self.edge}/api/cities/", CITIES, self.total, *tallies)

    @contextlib.asynccontextmanager
    async def as_a_member(self, *tallies: Tally) -> AsyncIterator[Load]:
        """A load that asks the backend itself, with an identity of its own."""
        async with self._mesh.async_client(timeout=30) as client:
            yield Load(client, "http://backend/cities/", CITIES, self.total, *tallies)


def endpoints_of(resolution: object) -> tuple[Endpoint, ...]:
    """The endpoints of a resolution, none if it is not bound."""
    return resolution.snapshot.endpoints if isinstance(resolution, Bound) else ()


async def until(watch: Watch[Any], holds: Callable[[Any], bool]) -> None:
    """Wait until the value of `watch` satisfies `holds`."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        # A watcher thread may have one more change to tell when the loop has already ended.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(changed.set)

    unsubscribe = watch.subscribe(wake)
    try:
        while not (watch.ready and holds(watch.value)):
            await changed.wait()
            changed.clear()
    finally:
        unsubscribe()


@contextlib.asynccontextmanager
async def staged(options: Options, fleet_made: Callable[[Fleet], None]) -> AsyncIterator[Stage]:
    """Start the whole demo, and end it however the block ends.

    `fleet_made` hears of the fleet before anything is started.
    """
    with _home(options.home) as home:
        edge = f"127.0.0.1:{options.port or free_port()}"
        fleet = Fleet(home, options.control)
        fleet_made(fleet)
        try:
            agent = await _agent(fleet, home) if options.control == "consul" else None
            with Mesh(CLIENT, home=str(home), control=fleet.control, instance=CLIENT) as mesh:
                stage = Stage(home, fleet, mesh, edge, agent)
                await stage.start(*programs(options, edge))
                yield stage
        finally:
            await fleet.close()


async def _agent(fleet: Fleet, home: Path) -> Agent:
    """A Consul, which the processes of the fleet are told of."""
    agent = Agent(fleet, home)
    await agent.start()
    fleet.control = agent.url
    return agent


@contextlib.contextmanager
def _home(given: Path | None) -> Any:
    if given is not None:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="meshlib-demo-"))  # mkdtemp makes it 0700
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _not_ready(member: Member) -> DemoError:
    what = f"{member.name} is not ready after {START_LIMIT:g} s"
    if member.code is not None:
        what = f"{member.name} ended with code {member.code} before it was ready"
    return DemoError(what, why=member.last_words(), hint=f"its log is {member.log}")
