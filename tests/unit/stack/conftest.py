"""Every scenario of the stack runs in both worlds: without a loop, and in asyncio."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from meshlib.balance.upstream import Upstream
from meshlib.config import UpstreamConfig
from meshlib.model import Bound, Call, Endpoint, Reply, Snapshot, Target
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import straight
from meshlib.runtime import SyncRuntime, run_sync
from meshlib.stack.client import Destination, client_stack
from meshlib.stack.service import AttemptService
from meshlib.testing.clock import FakeClock
from meshlib.testing.script import endpoints
from meshlib.watch import Watch


@dataclass
class World:
    """A destination with scripted parts, and a way to call it."""

    clock: FakeClock
    runtime: SyncRuntime
    upstream: Upstream
    destination: Destination
    drive: Callable
    listener: object = Quiet()
    tracer: object = Passthrough()

    def stack(self, engine: AttemptService):
        return client_stack(
            self.destination,
            engine,
            runtime=self.runtime,
            tracer=self.tracer,
            listener=self.listener,
        )

    def call(self, engine: AttemptService, **call) -> Reply:
        return self.drive(self.stack(engine)(Call("shop", **call)))

    def forget(self) -> None:
        """Be as before the first answer of discovery."""
        self.upstream = Upstream("shop", self.clock, self.runtime.rng)

    def bind(self, *members: Endpoint) -> None:
        self.upstream.update(Bound(Snapshot("shop", members)))

    def configure(self, **changes) -> None:
        self.destination.config.set(
            UpstreamConfig(**{**_fields(self.destination.config.value), **changes})
        )

    @property
    def pending(self) -> int:
        return sum(state.pending for state in self.upstream.states())


def _fields(config: UpstreamConfig) -> dict:
    return {name: getattr(config, name) for name in config.__struct_fields__}


def _in_asyncio(coroutine):
    async def main():
        return await coroutine

    return asyncio.run(main())


@pytest.fixture(params=[run_sync, _in_asyncio], ids=["no loop", "asyncio"])
def drive(request):
    """How coroutines are run."""
    return request.param


@pytest.fixture
def clock():
    """Time, moved by hand."""
    return FakeClock()


@pytest.fixture
def world(clock, drive):
    """A service with three endpoints."""
    rng = random.Random(7)
    runtime = SyncRuntime(clock, rng, sleep=clock.sleep)
    config = Watch(UpstreamConfig(), ready=True)
    destination = Destination(
        service="shop",
        config=config,
        table=Watch(straight(Target("shop")), ready=True),
        upstream=lambda service: made.upstream,
        backoff=config.map(lambda value: value.retry.backoff).map(Backoff),
        budget=config.map(lambda value: value.retry.budget).map(
            lambda budget: RetryBudget(clock, budget)
        ),
    )
    upstream = Upstream("shop", clock, rng, config.value)
    made = World(clock, runtime, upstream, destination, drive)
    made.bind(*endpoints(1, 2, 3))
    return made
