"""
How much load retries add when everything behind three layers is down.

Three services in a chain call each other, the last of them a dependency that answers 503 to
everything; each layer may try three times.  The stacks are the real ones; time is simulated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from _common import Result, at_least, at_most, name_of, run

from meshlib.config import BudgetConfig, RetryConfig, UpstreamConfig
from meshlib.testing.clock import FakeClock
from meshlib.testing.tree import Ask, Tree

LAYERS = ("frontend", "backend", "store")
DOWN = "database"
SECONDS = 60
LIMITLESS = RetryConfig(budget=BudgetConfig(share=1e6, floor=1e6))


def amplification(retry: RetryConfig, *, rate: float, deaf: bool) -> float:
    """Requests that reach the dependency for each one that enters at the edge."""
    clock = FakeClock()
    config = UpstreamConfig(retry=retry)
    tree = Tree(clock, random.Random(1), config, deaf=deaf)
    for service, beneath in zip(LAYERS, (*LAYERS[1:], DOWN), strict=True):

        async def handler(ask: Ask, beneath: str = beneath) -> int:
            return await ask(beneath)

        tree.add(service, handler)

    async def down(_: Ask) -> int:
        return 503

    tree.add(DOWN, down)
    requests = int(SECONDS * rate)
    for _ in range(requests):
        tree.request(LAYERS[0])
        clock.advance(1 / rate)
    return tree.served[DOWN] / requests


def measure() -> Iterator[Result]:
    """See the module."""
    name = name_of(__file__)
    naive = amplification(LIMITLESS, rate=10, deaf=True)
    yield at_least(name, "naive: three tries in each of three layers", naive, 27, "x")
    ours = amplification(RetryConfig(), rate=100, deaf=False)
    yield at_most(name, "meshlib, 100 requests/s", ours, 1.2, "x", "tree stop and budget")
    budgets = amplification(RetryConfig(), rate=100, deaf=True)
    yield Result(name, "budgets alone, 100 requests/s", budgets, "x", detail="1.2 ** 3 at most")
    quiet = amplification(RetryConfig(), rate=1, deaf=False)
    most = 1 + RetryConfig().credit
    yield at_most(name, "meshlib, 1 request/s: the floor", quiet, most, "x", "retry credit")


if __name__ == "__main__":
    run(measure)
