"""docs/how-to/metrics.md against what is really exported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.observe.events import Listener

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "metrics.md"
ROW = re.compile(r"^\| `(meshlib_\w+)` \| (\w+) \| ([\w, ]*?) ?\| (.+) \|$", re.MULTILINE)
EVENT = re.compile(r"^\| `(\w+)` \| (?!counter|gauge|histogram)", re.MULTILINE)


@pytest.fixture
def exported(home):
    """What a mesh has, by name."""
    with Mesh("frontend") as mesh:
        return {family.name: family for family in mesh.metrics.registry.families()}


def test_the_table_of_metrics_is_exact(exported):
    """Every metric is in the table with its type and labels, and nothing else is."""
    said = {name: (kind, labels) for name, kind, labels, _ in ROW.findall(PAGE.read_text("utf-8"))}
    really = {name: (it.kind, ", ".join(it.labels)) for name, it in exported.items()}
    assert really == said


def test_the_table_of_events_is_exact():
    """Every event is documented, and nothing else."""
    text = PAGE.read_text("utf-8")
    said = EVENT.findall(text[text.index("## Events") :])
    assert {name for name in vars(Listener) if not name.startswith("_")} == set(said)


def test_every_metric_says_what_it_is(exported):
    """A sentence of help, and label names that no parser trips over."""
    assert all(family.help.endswith(".") or ";" in family.help for family in exported.values())
    labels = {label for family in exported.values() for label in family.labels}
    assert {"le", "quantile"}.isdisjoint(labels)
