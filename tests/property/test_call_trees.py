from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import BudgetConfig, RetryConfig, UpstreamConfig
from meshlib.testing.clock import FakeClock
from meshlib.testing.tree import Tree

LIMITLESS = BudgetConfig(share=1e6, floor=1e6)
SHAPES = st.recursive(st.just([]), lambda below: st.lists(below, max_size=3), max_leaves=8)
"""A service is the list of the services it calls."""


def grow(tree, shape, failing, chance, name="s"):
    """Add `shape` as services; returns the requests that reach them without any retry."""
    names = [f"{name}.{number}" for number in range(len(shape))]
    for child, beneath in zip(names, shape, strict=True):
        grow(tree, beneath, failing, chance, child)

    async def handler(ask):
        answers = [await ask(child) for child in names]
        # some handlers hide a failure from those above, some fail by themselves
        failed = any(answer >= 500 for answer in answers) and chance.random() < 0.7
        return 503 if failed or chance.random() < failing else 200

    tree.add(name, handler)


def size(shape):
    return 1 + sum(map(size, shape))


@given(SHAPES, st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 8), st.integers(0, 2**32))
def test_extra_attempts_never_exceed_the_credit(shape, failing, credit, seed):
    """Whatever the tree and whoever fails: extra attempts, each with its own subtree, <= credit."""
    chance = random.Random(seed)
    retry = RetryConfig(credit=credit, attempts=10, budget=LIMITLESS)
    tree = Tree(FakeClock(), chance, UpstreamConfig(retry=retry))
    grow(tree, shape, failing, chance)
    tree.request("s")
    extra = tree.retried
    assert extra <= credit
    assert sum(tree.served.values()) <= size(shape) * (1 + credit)
    assert max(tree.served.values()) <= 1 + credit


@given(st.integers(1, 6), st.integers(0, 8), st.booleans())
def test_a_chain_that_is_down_is_asked_at_most_credit_more_times(depth, credit, deaf_to_nacks):
    """The last service of a chain gets at most 1 + credit requests for one at the edge."""
    chance = random.Random(depth)
    retry = RetryConfig(credit=credit, attempts=10, budget=LIMITLESS)
    tree = Tree(FakeClock(), chance, UpstreamConfig(retry=retry), nacks=not deaf_to_nacks)
    shape = []
    for _ in range(depth):
        shape = [shape]
    grow(tree, shape, 1.0, chance)
    tree.request("s")
    assert tree.served["s" + ".0" * depth] <= 1 + credit
