"""What the client stack costs by itself, and whether that grows with the number of endpoints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from statistics import median

from _common import Result, at_most, cpu_seconds, interleaved, name_of, ratio, run, spread

from meshlib.balance.upstream import Upstream
from meshlib.config import (
    BulkheadConfig,
    CircuitConfig,
    ConcurrencyConfig,
    QuotaConfig,
    RetryConfig,
    UpstreamConfig,
)
from meshlib.model import Attempt, Bound, Call, Endpoint, Reply, Snapshot, Target
from meshlib.observe.events import Listener
from meshlib.observe.metrics.listener import Metrics
from meshlib.observe.quiet import Quiet
from meshlib.observe.tracing import Tracing
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import straight
from meshlib.runtime import SyncRuntime, real_clock, run_sync
from meshlib.stack.client import Destination, client_stack
from meshlib.stack.service import CallService
from meshlib.watch import Watch

CALLS = 2_000
ROUNDS = 15
LAYERS = 12


async def engine(attempt: Attempt) -> Reply:
    """An engine that answers at once."""
    del attempt
    return Reply(200)


EVERYTHING = UpstreamConfig(
    retry=RetryConfig(adaptive_timeout=True),
    rate=QuotaConfig(limit=1e9),
    concurrency=ConcurrencyConfig(),
    bulkhead=BulkheadConfig(),
    circuit=CircuitConfig(),
)
"""What is off until somebody asks for it, asked for; hedging needs an event loop."""


PLAIN = UpstreamConfig()


def stack(
    count: int, settings: UpstreamConfig = PLAIN, listener: Listener | None = None
) -> CallService:
    """The real client stack over `count` endpoints."""
    runtime = SyncRuntime()
    config = Watch(settings, ready=True)
    upstream = Upstream("shop", real_clock, runtime.rng, config.value)
    members = tuple(Endpoint(f"i-{n}", "127.0.0.1", n % 65_000 + 1) for n in range(count))
    upstream.update(Bound(Snapshot("shop", members)))
    destination = Destination(
        service="shop",
        config=config,
        table=Watch(straight(Target("shop")), ready=True),
        upstream=lambda _: upstream,
        backoff=Watch(Backoff(config.value.retry.backoff), ready=True),
        budget=Watch(RetryBudget(real_clock, config.value.retry.budget), ready=True),
    )
    return client_stack(
        destination, engine, runtime=runtime, tracer=Tracing(), listener=listener or Quiet()
    )


def calls(service: CallService) -> None:
    """Many calls, one after the other."""
    for _ in range(CALLS):
        run_sync(service(Call("shop")))


def bare() -> None:
    """The same calls straight to the engine: what the loop and the engine cost by themselves."""
    for _ in range(CALLS):
        run_sync(engine(Attempt(Call("shop"))))


def measure() -> Iterator[Result]:
    """See the module."""
    name = name_of(__file__)
    few, many, full = stack(3), stack(3_000), stack(3, EVERYTHING)
    metered = stack(3, EVERYTHING, Metrics())
    costs = interleaved(
        {
            "bare": lambda: cpu_seconds(bare),
            "few": lambda: cpu_seconds(partial(calls, few)),
            "many": lambda: cpu_seconds(partial(calls, many)),
            "full": lambda: cpu_seconds(partial(calls, full)),
            "metered": lambda: cpu_seconds(partial(calls, metered)),
        },
        rounds=ROUNDS,
    )
    python = f"net of the bare engine, Python {sys.version.split()[0]}"
    for case, name_of_case, bound in (
        ("few", "CPU of one call through the stack", 20),
        ("full", "the same with every policy on", 40),
        ("metered", "the same with every policy and metrics on", 40),
    ):
        net = [
            (mine - theirs) / CALLS * 1e6
            for mine, theirs in zip(costs[case], costs["bare"], strict=True)
        ]
        yield at_most(name, name_of_case, median(net), bound, "us", f"{LAYERS} layers, {python}")
    growth = ratio(costs["many"], costs["few"])
    yield at_most(
        name,
        "3,000 endpoints against 3",
        growth,
        1.3,
        "x",
        spread(costs["many"], costs["few"]),
    )


if __name__ == "__main__":
    run(measure)
