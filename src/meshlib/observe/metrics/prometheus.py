"""
Metrics as text: Prometheus' format 0.0.4, and OpenMetrics 1.0.

Both are one line a sample under two lines that say what it is.  OpenMetrics names a counter without
its `_total`, and ends with a line of its own, so that a page that was cut off is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf, isnan

from meshlib.observe.metrics.family import Family, Sample

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_TOTAL = "_total"


def page(families: Iterable[Family], *, openmetrics: bool = False) -> str:
    """All of them, as one text.  A family without a sample is left out."""
    lines = (line for family in families for line in _lines(family, openmetrics=openmetrics))
    end = "# EOF\n" if openmetrics else ""
    return "".join(f"{line}\n" for line in lines) + end


def _lines(family: Family, *, openmetrics: bool) -> Iterator[str]:
    samples = tuple(family.samples())
    if not samples:
        return
    title = family.name.removesuffix(_TOTAL) if openmetrics else family.name
    yield f"# HELP {title} {_escaped(family.help, quotes=openmetrics)}"
    yield f"# TYPE {title} {family.kind}"
    for sample in samples:
        yield f"{family.name}{sample.suffix}{_labels(sample)} {_number(sample.value)}"


def _labels(sample: Sample) -> str:
    if not sample.labels:
        return ""
    pairs = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in sample.labels)
    return f"{{{','.join(pairs)}}}"


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _number(value: float) -> str:
    if isnan(value):
        return "NaN"
    if abs(value) == inf:
        return "+Inf" if value > 0 else "-Inf"
    return str(value)
