from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from meshlib.demo.board import Board, Row, certificate, line, span, table
from meshlib.demo.traffic import Tally

NOW = datetime(2024, 7, 1, 12, tzinfo=UTC)
ROW = Row("backend", "v2", "backend-v2-a", "ready", 4711, 12.5, 0.987, 3.2, 40.1, "5 min old")
BOARD = Board(
    url="http://127.0.0.1:8080/",
    rows=(ROW,),
    split={"v1": 90.0, "v2": 10.0},
    seen=Counter({"v1": 88, "v2": 12}),
    requests=200,
    failures=1,
    seconds=61.0,
)


def drawn(board):
    console = Console(width=140, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(table(board))
    return capture.get()


def test_the_table_shows_every_number():
    """Instance, process, rates, certificate, both splits and the page's address are to be seen."""
    told = drawn(BOARD)
    for word in ("backend-v2-a", "4711", "12.5", "98.7 %", "3.2", "40.1", "5 min old"):
        assert word in told
    for word in ("v1 90.0 %", "v2 12.0 %", "http://127.0.0.1:8080/", "1 failed"):
        assert word in told


def test_the_table_shows_the_latest_failure_as_it_is():
    """Brackets in a failure are shown, not taken for markup."""
    assert "latest failure: [odd] thing" in drawn(replace(BOARD, problem="[odd] thing"))


def test_the_line_says_it_all_in_one():
    """Without a terminal one line carries the split set, the split seen and the success."""
    told = line(BOARD, Tally(), 0.0)
    assert "set 90/10  seen 88/12  200 requests, 99.50 % well" in told


@pytest.mark.parametrize(
    ("begun", "end"),
    [
        ((NOW - timedelta(minutes=5)).timestamp(), (NOW + timedelta(hours=71)).timestamp()),
        ("2024-07-01T11:55:00+00:00", "2024-07-04T11:00:00+00:00"),
    ],
)
def test_a_certificate_has_an_age_and_a_rest(begun, end):
    """Unix seconds and ISO 8601 are both understood."""
    health = {"certificate": {"not_before": begun, "not_after": end}}
    assert "5 min old, 71 h left" == certificate(health, NOW)


def test_without_health_there_is_no_certificate():
    """An instance that did not answer has an empty cell."""
    assert "" == certificate({}, NOW)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h")],
)
def test_spans_are_told_in_one_unit(seconds, told):
    """The unit changes at twice its size."""
    assert told == span(timedelta(seconds=seconds))
