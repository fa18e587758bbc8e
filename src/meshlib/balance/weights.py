"""Endpoints by weight.  There may be many of them, but mostly there are few different weights."""

from __future__ import annotations

from collections.abc import Sequence


def by_weight(weights: Sequence[int]) -> dict[int, list[int]]:
    """The indices at which each weight stands, in order."""
    classes: dict[int, list[int]] = {}
    for index, weight in enumerate(weights):
        classes.setdefault(weight, []).append(index)
    return classes
