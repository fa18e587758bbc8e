from __future__ import annotations

import asyncio

import pytest

from meshlib.adapters.loops import PerLoop


def test_one_for_each_loop_and_ended_with_it():
    """Each loop has its own, and it is ended before the loop closes."""
    made, ended = [], []

    def make():
        made.append(object())
        return made[-1]

    async def end(one):
        ended.append(one)

    per_loop = PerLoop(make, end)

    async def twice():
        return per_loop.current(), per_loop.current()

    first = asyncio.run(twice())
    assert [first[0]] == ended
    second = asyncio.run(twice())
    assert first[0] is first[1]
    assert second[0] is not first[0]
    assert made == ended


def test_outside_of_a_loop_there_is_none():
    """Asking without a running loop is an error, not a new loop."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        PerLoop(object, None).current()
