"""What docs/security.md promises is tested by the tests it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PAGE = (ROOT.parent / "docs" / "security.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| (`[^|]+`) \|$", PAGE, re.MULTILINE)
NAMED = sorted({name for _, tests in ROWS for name in re.findall(r"`([^`]+)`", tests)})


def test_every_promise_names_a_test() -> None:
    """A promise is a row of a table, and at least one test is beside it."""
    assert len(ROWS) > 25
    assert len(re.findall(r"`[a-z_/0-9]+\.py::", PAGE)) == len(re.findall(r"\.py::", PAGE))


@pytest.mark.parametrize("name", NAMED)
def test_it_is_there(name: str) -> None:
    """Each name is one function of one file."""
    file, _, test = name.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    functions = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert 1 == functions.count(test)
