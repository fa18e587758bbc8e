"""The rules at the top of `meshlib.stack`, as far as the code alone can show them."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

import meshlib.stack
from meshlib.model import Call
from meshlib.runtime import run_sync

SOURCES = sorted(Path(meshlib.stack.__file__).parent.glob("*.py"))
ALLOWED = {
    "inner",
    "discard",
    "sleep",
    "wait",
    "race",
    "send",
    "_suffer",
    "within",
    "_first_pick",
    "_first_table",
}


def awaited(tree):
    """The names of what is awaited."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Await):
            called = node.value.func
            yield called.attr if isinstance(called, ast.Attribute) else called.id


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_layer_awaits_only_what_is_beneath_it(source):
    """Rule 1: the service beneath, a reply's discard, the runtime, or the layer's own helpers."""
    assert set(awaited(ast.parse(source.read_text("utf-8")))) <= ALLOWED


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_copied(source):
    """Rule 4: neither `replace` nor `copy` of what a request carries."""
    nodes = ast.walk(ast.parse(source.read_text("utf-8")))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not names & {"replace", "copy", "deepcopy"}


def test_a_layer_that_suspends_without_a_loop_is_caught(world):
    """run_sync refuses to drive what really waits."""

    async def engine(attempt):
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        run_sync(world.stack(engine)(Call("shop")))
    assert world.pending == 0
