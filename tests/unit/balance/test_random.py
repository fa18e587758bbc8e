from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshlib.balance.random import Random as ByChance


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (5, 1), (9, 3, 3, 1)])
def test_chance_goes_by_weight(states, attempt, weights):
    """Everybody gets the share of its weight, however busy it is."""
    picker = ByChance(states(*weights), Random(1))
    seen = Counter(picker.pick(attempt()).endpoint.id for _ in range(1000 * sum(weights)))
    for name, weight in zip("abcd", weights, strict=False):
        assert abs(seen[name] - 1000 * weight) < 0.1 * 1000 * weight + 30, seen


def test_tried_endpoints_are_avoided(states, attempt):
    """As long as one is left that was not tried, it is picked."""
    members = states(1, 99, 1)
    picker = ByChance(members, Random(1))
    assert {"a"} == {picker.pick(attempt(*members[1:])).endpoint.id for _ in range(50)}
