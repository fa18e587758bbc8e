"""What listeners are told of Consul."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshlib.control.consul
import meshlib.observe.events

SOURCES = sorted(Path(meshlib.control.consul.__file__).parent.glob("*.py"))
HOWTO = Path(__file__).parents[4] / "docs" / "how-to" / "consul.md"
TELLING = {"_event", "event", "tell"}


def kinds() -> set[str]:
    """The words that stand first in what is told, and those in tables of kinds."""
    return {kind for path in SOURCES for kind in _kinds(ast.parse(path.read_text("utf-8")))}


def _kinds(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in TELLING and node.args:
            yield from _words(node.args[0])
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "_KINDS":
            yield from _words(node.value)
        if isinstance(node, ast.Assign) and "kind" in {getattr(t, "id", "") for t in node.targets}:
            yield from _words(node.value)


def _words(node: ast.AST | None) -> Iterator[str]:
    for each in ast.walk(node) if node is not None else ():
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.islower():
            yield each.value


def test_there_are_some():
    """This test sees what it looks for."""
    assert {"agent-lost", "endpoints-held", "clock-skew", "intentions-denied"} <= kinds()


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_kind_is_explained(kind):
    """In the how-to, and where a listener is written."""
    assert f"`{kind}`" in HOWTO.read_text("utf-8")
    assert f'"{kind}"' in (meshlib.observe.events.Listener.control_event.__doc__ or "")
