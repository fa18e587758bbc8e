"""What the live display shows: one row an instance, and the split that is set beside the one seen.

The rows are plain values; `table` draws them with rich, `line` says the same in one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshlib.demo.chance import percentile
from meshlib.demo.traffic import NOBODY, WINDOW, Line, Tally

if TYPE_CHECKING:
    from rich.console import RenderableType

COLOURS = {"v1": "blue", "v2": "dark_orange", "-": "red"}
_GOOD = 0.999


@dataclass(frozen=True, slots=True)
class Row:
    """One instance as it is shown."""

    service: str
    version: str
    instance: str
    state: str
    pid: int | None
    rate: float
    success: float
    p50: float
    p99: float
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """All that is shown at one moment."""

    url: str
    rows: tuple[Row, ...]
    split: Mapping[str, float]
    seen: Counter[str]
    requests: int
    failures: int
    seconds: float
    problem: str = ""
    """The latest failure, in words."""


def row(who: tuple[str, str, str], line: Line, now: float, state: str, health: Any) -> Row:
    """Put together what was counted and what the instance says of itself."""
    rate, success, p50, p99 = line.rates(now)
    pid = health.get("pid") if health else None
    return Row(*who, state, pid, rate, success, p50, p99, certificate(health, datetime.now(UTC)))


def certificate(health: Mapping[str, Any], now: datetime) -> str:
    """Age and remaining life of the certificate an instance says it has."""
    told = health.get("certificate") if health else None
    if not told:
        return ""
    begun, end = moment(told["not_before"]), moment(told["not_after"])
    return f"{span(now - begun)} old, {span(end - now)} left"


def moment(told: float | str) -> datetime:
    """A time as Unix seconds or in ISO 8601."""
    if isinstance(told, str):
        return datetime.fromisoformat(told)
    return datetime.fromtimestamp(told, UTC)


def span(length: timedelta) -> str:
    """A length of time in its largest unit: `71 h`, `5 min`, `12 s`."""
    seconds = int(length.total_seconds())
    for size, unit in ((3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def line(board: Board, tally: Tally, now: float) -> str:
    """The board in one line, for output that is not a terminal."""
    entrance = [each for (service, _, _), each in tally.lines.items() if service == "frontend"]
    times = [ms for each in entrance for at, _, ms in each.recent if at > now - WINDOW]
    good = 100 * (1 - board.failures / board.requests) if board.requests else 100.0
    return (
        f"{board.seconds:5.0f} s  set {_shares(board.split)}  seen {_shares(_percent(board))}"
        f"  {board.requests} requests, {good:.2f} % well"
        f"  p50 {percentile(times, 0.5):.1f} ms  p99 {percentile(times, 0.99):.1f} ms"
        + (f"  latest failure: {board.problem}" if board.problem else "")
    )


def table(board: Board) -> RenderableType:
    """The board as rich draws it."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("service", "version", "instance", "state"):
        grid.add_column(name)
    for name in ("pid", "req/s", "success", "p50 ms", "p99 ms", "certificate"):
        grid.add_column(name, justify="right")
    for each in board.rows:
        grid.add_row(*_cells(each), style="red" if each.version == NOBODY[1] else None)
    head = Text.assemble(("meshlib demo  ", "bold"), (board.url, "underline"), "   Ctrl-C ends it")
    return Group(head, "", grid, "", *_bars(board), _foot(board))


def _cells(each: Row) -> Iterator[str]:
    colour = COLOURS.get(each.version, "green")
    state = each.state if each.state == "ready" else f"[red]{each.state}[/]"
    success = f"{100 * each.success:.1f} %"
    yield from (each.service, f"[{colour}]{each.version}[/]", each.instance, state)
    yield str(each.pid or "")
    yield f"{each.rate:.1f}"
    yield success if each.success >= _GOOD else f"[red]{success}[/]"
    yield from (f"{each.p50:.1f}", f"{each.p99:.1f}", each.certificate)


def _bars(board: Board) -> Iterator[RenderableType]:
    from rich.text import Text

    for name, shares in (("set ", dict(board.split)), ("seen", _percent(board))):
        text = Text(f"split {name}  ")
        for version, share in shares.items():
            text.append("█" * round(share * 0.6), COLOURS.get(version, "green"))
        yield text.append("  " + "  ".join(f"{v} {share:.1f} %" for v, share in shares.items()))


def _foot(board: Board) -> str:
    from rich.markup import escape

    colour = "red" if board.failures else "green"
    counts = f"{board.requests} requests, [{colour}]{board.failures} failed[/]"
    latest = f"\nlatest failure: {escape(board.problem)}" if board.problem else ""
    return f"{counts}, {board.seconds:.0f} s{latest}"


def _percent(board: Board) -> dict[str, float]:
    total = sum(board.seen.values())
    return {v: 100 * board.seen[v] / total if total else 0.0 for v in board.split}


def _shares(shares: Mapping[str, float]) -> str:
    return "/".join(f"{share:.0f}" for share in shares.values()) or "-"
