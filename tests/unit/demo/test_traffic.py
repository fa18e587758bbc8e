from __future__ import annotations

import asyncio

import httpx
import pytest

from meshlib.demo.traffic import NOBODY, WINDOW, Line, Load, Tally

BACKEND = {"service": "backend", "version": "v2", "instance": "backend-b"}
WHO = ("backend", "v2", "backend-b")


def load_over(answer, *tallies):
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return Load(client, "http://edge/", ["Europe/Berlin", "Asia/Tokyo"], *tallies)


def test_rates_look_back_one_window():
    """Old answers leave the rates and stay in the counts."""
    line = Line()
    line.add(0.0, 99.0, good=False)
    for _ in range(10):
        line.add(WINDOW + 1, 2.0, good=True)
    assert (10 / WINDOW, 1.0, 2.0, 2.0) == line.rates(WINDOW + 1)
    assert (11, 1) == (line.requests, line.failures)


@pytest.mark.asyncio
async def test_an_answer_counts_where_it_came_from():
    """The answering instance, the frontend and the database each get their line."""
    told = {
        "zone": "Europe/Berlin",
        "ms": 7.0,
        "served_by": BACKEND,
        "frontend": {"service": "frontend", "version": "v1", "instance": "frontend-a"},
        "database": {"service": "database", "version": "v1", "instance": "db", "ms": 3.0},
    }
    tally = Tally()
    await load_over(lambda _: httpx.Response(200, json=told), tally).ask("Europe/Berlin")
    assert (1, 0) == (tally.requests, tally.failures)
    assert [7.0] == [ms for _, _, ms in tally.lines[WHO].recent]
    assert [3.0] == [ms for _, _, ms in tally.lines["database", "v1", "db"].recent]
    assert 1 == tally.lines["frontend", "v1", "frontend-a"].requests
    assert {"v2": 1} == tally.versions("backend")
    assert 1 == tally.of_instance("backend-b")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "who"),
    [
        (httpx.Response(200, json={"zone": "Asia/Tokyo", "served_by": BACKEND}), WHO),
        (httpx.Response(503, json={"error": "no", "served_by": BACKEND}), WHO),
        (httpx.Response(200, text="<html>"), NOBODY),
        (httpx.ConnectError("refused"), NOBODY),
    ],
)
async def test_anything_but_the_right_answer_is_a_failure(answer, who):
    """Another city, an error status, no JSON and no connection all count as failed."""

    def reply(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    tally = Tally()
    await load_over(reply, tally).ask("Europe/Berlin")
    assert (1, 1) == (tally.requests, tally.failures)
    assert 1 == tally.lines[who].failures
    assert "Europe/Berlin" in tally.problems[0]
    assert tally.problems[0] == tally.latest


@pytest.mark.asyncio
async def test_a_load_runs_until_the_block_ends():
    """As many requests as were waited for have finished, over all cities, and then no more."""
    asked = []

    def reply(request):
        asked.append(request.url.path)
        return httpx.Response(200, json={"zone": request.url.path[1:], "served_by": BACKEND})

    tally = Tally()
    async with load_over(reply, tally).running(3):
        await asyncio.wait_for(tally.reached(20), 10)
    assert len(asked) == tally.requests >= 20
    assert {"/Europe/Berlin", "/Asia/Tokyo"} == set(asked)
    assert 0 == tally.failures
