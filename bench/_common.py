"""
What the files of this folder share: results, and fair comparisons on a noisy machine.

A bench answers one question.  It ends with `run(measure)`, where `measure` yields `Result`s; the
rest (arguments, printing) is done here.  Contenders take turns within each round, so that whatever
slows the machine down slows them all; the value is the median of the ratios of each round.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Result:
    """One measured number and, where something was promised, whether it held."""

    bench: str
    case: str
    value: float | None
    """None when it could not be measured."""
    unit: str
    bound: str = ""
    """What was promised, such as "<= 20"; empty when nothing was."""
    ok: bool = True
    detail: str = ""

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(asdict(self))


def at_most(
    bench: str, case: str, value: float, bound: float, unit: str, detail: str = ""
) -> Result:
    """A value that was promised to be `bound` or less."""
    return Result(bench, case, value, unit, f"<= {bound:g}", value <= bound, detail)


def at_least(
    bench: str, case: str, value: float, bound: float, unit: str, detail: str = ""
) -> Result:
    """A value that was promised to be `bound` or more."""
    return Result(bench, case, value, unit, f">= {bound:g}", value >= bound, detail)


Contender = Callable[[], float]
"""Does its work once and returns what that cost: seconds, or anything that can be divided."""


def interleaved(
    contenders: Mapping[str, Contender], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Let the contenders take turns; each round starts with another of them."""
    names = list(contenders)
    costs: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            cost = contenders[name]()
            if number >= warm_up:
                costs[name].append(cost)
    return costs


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def spread(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The quartiles of the ratios of each round, for `detail`."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return f"quartiles {low:.3g}..{high:.3g} of {len(ratios)} rounds"


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads, that `work` took."""
    started = time.process_time()
    work()
    return time.process_time() - started


def wall_seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds that `work` took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def table(results: Iterable[Result]) -> Iterator[str]:
    """One readable line for each result."""
    for result in results:
        mark = "ok   " if result.ok else "SHORT"
        value = "-" if result.value is None else f"{result.value:.4g}"
        number = f"{value} {result.unit}".rstrip()
        what = f"{result.bench}: {result.case}"
        yield f"{mark}  {what:<58} {number:>16}  {result.bound:<8} {result.detail}".rstrip()


def run(measure: Callable[[], Iterable[Result]]) -> None:
    """Measure and print: a table, or with `--json` one JSON object a line."""
    for result in measure():
        print(result.to_json() if "--json" in sys.argv else next(table([result])), flush=True)


def name_of(file: str) -> str:
    """What a bench calls itself: its file's name."""
    return Path(file).stem
