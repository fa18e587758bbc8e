"""Whole trees of calls: how much load retries may add."""

from __future__ import annotations

import random

from meshlib.config import BudgetConfig, RetryConfig, UpstreamConfig
from meshlib.testing.clock import FakeClock
from meshlib.testing.tree import Tree

LAYERS = ("frontend", "backend", "store")
LIMITLESS = BudgetConfig(share=1e6, floor=1e6)


def chain(retry, clock=None, **options):
    """Three layers, each of which passes on what the next one says; what is beneath is down."""
    tree = Tree(clock or FakeClock(), random.Random(3), UpstreamConfig(retry=retry), **options)
    for service, beneath in zip(LAYERS, (*LAYERS[1:], "database"), strict=True):
        tree.add(service, lambda ask, beneath=beneath: ask(beneath))

    async def down(_):
        return 503

    tree.add("database", down)
    return tree


def test_retry_storm():
    """Known hard bug: three layers of three tries add at most 20 % when all is down, not 27 times.

    The naive twin is the same stack without the mesh's headers and without a budget.
    """
    naive = chain(RetryConfig(budget=LIMITLESS), deaf=True)
    naive.request("frontend")
    assert 27 == naive.served["database"]

    clock = FakeClock()
    tree = chain(RetryConfig(), clock)
    requests = 3000
    for _ in range(requests):
        assert tree.request("frontend") == 503
        clock.advance(0.01)
    assert tree.served["database"] <= 1.2 * requests
    assert [requests, requests, requests] == [tree.served[name] for name in LAYERS]


def test_only_the_lowest_layer_tries_again():
    """What was tried below is not tried again above: the answer says so."""
    tree = chain(RetryConfig(budget=LIMITLESS, credit=100))
    tree.request("frontend")
    assert {"frontend": 1, "backend": 1, "store": 1, "database": 3} == tree.served


def test_a_credit_that_is_spent_stops_everybody():
    """Even where nobody passes the word on, a tree makes no more extra attempts than its credit."""
    tree = Tree(
        FakeClock(),
        random.Random(3),
        UpstreamConfig(retry=RetryConfig(budget=LIMITLESS, credit=4, attempts=10)),
    )

    async def down(_):
        return 503

    async def forgetful(ask):
        for _ in range(20):
            await ask("database")
        return 200

    tree.add("database", down)
    tree.add("frontend", forgetful)
    tree.request("frontend")
    assert 20 + 4 >= tree.served["database"]
    tree.request("frontend")
    assert 40 + 8 >= tree.served["database"]
