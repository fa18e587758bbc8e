"""Whom to draw from when some fail."""

from __future__ import annotations

import pytest

from meshlib.balance.panic import most_ejected, view_of
from meshlib.config import OutlierConfig
from meshlib.model import Verdict
from meshlib.policy.breaker import State

CONFIG = OutlierConfig()


@pytest.fixture
def failing(states):
    """Make states of which some answer with failures, and some cannot be connected to."""

    def make(well=0, answering=0, gone=0):
        made = states(*[1] * (well + answering + gone))
        for index, state in enumerate(made[well:]):
            while state.breaker.state is State.CLOSED:
                connected = index < answering
                state.breaker.report(state.breaker.permit, Verdict.FAILURE, connected=connected)
        return made

    return make


def counts(states, config=CONFIG):
    """How many are drawn, drawn less, left out and waiting for a probe."""
    view = view_of(states, config)
    assert not set(view.drawn) & set(view.biased)
    left_out = len(states) - len(view.drawn) - len(view.biased)
    return len(view.drawn), len(view.biased), left_out, len(view.waiting)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"well": 5}, (5, 0, 0, 0)),
        ({"well": 4, "answering": 1}, (4, 0, 1, 1)),
        ({"well": 2, "answering": 2}, (2, 0, 2, 2)),
        ({"well": 2, "answering": 1}, (2, 0, 1, 1)),
        ({"well": 1, "answering": 2}, (1, 1, 1, 2)),
        ({"well": 1, "answering": 1}, (1, 1, 0, 1)),
        ({"answering": 1}, (1, 0, 0, 1)),
        ({"answering": 2}, (2, 0, 0, 2)),
        ({"gone": 3}, (3, 0, 0, 3)),
        ({"gone": 9}, (9, 0, 0, 9)),
    ],
)
def test_ejecting_last_or_all_hosts(failing, known, expected):
    """Known hard bug: half of them at most are left out, of two none, and never everybody.

    Fails when `most_ejected` is `known`, and when `view_of` lacks its second branch (by hand).
    """
    assert expected == counts(failing(**known))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"well": 4, "answering": 5}, (9, 0, 0, 5)),
        ({"well": 1, "answering": 3}, (4, 0, 0, 3)),
        ({"well": 5, "answering": 5}, (5, 0, 5, 5)),
        ({"well": 4, "gone": 5}, (4, 1, 4, 5)),
        ({"well": 3, "answering": 3, "gone": 3}, (6, 0, 3, 6)),
    ],
)
def test_panic(failing, known, expected):
    """With fewer than half of them well all that answer are drawn from; who is gone stays out."""
    assert expected == counts(failing(**known))


def test_no_panic_if_switched_off(failing):
    """Then only the bound on ejections holds."""
    config = OutlierConfig(panic=0.0)
    assert (1, 4, 4, 8) == counts(failing(well=1, answering=8), config)


def test_the_worst_are_left_out(failing, clock):
    """Who cannot be connected to goes first, then who has failed the most probes."""
    well, first, second = made = failing(well=1, answering=1, gone=1)
    assert [first] == view_of(made, CONFIG).biased
    clock.now = first.breaker.due
    first.breaker.report(first.breaker.try_probe(), Verdict.FAILURE)
    assert [first] == view_of(made, CONFIG).biased
    clock.now = second.breaker.due
    second.breaker.report(second.breaker.try_probe(), Verdict.FAILURE)
    assert first.breaker.cooldown == second.breaker.cooldown
    clock.now = first.breaker.due
    first.breaker.report(first.breaker.try_probe(), Verdict.FAILURE)
    assert [second] == view_of(made, CONFIG).biased
    assert [well] == view_of(made, CONFIG).drawn


@pytest.mark.parametrize(
    ("known", "share", "most"),
    [(1, 0.5, 0), (2, 0.5, 0), (3, 0.5, 1), (7, 0.5, 3), (10, 0.1, 1), (10, 1.0, 9), (10, 0.3, 3)],
)
def test_how_many_may_be_out(known, share, most):
    """The share is rounded down, and one always stays."""
    assert most == most_ejected(known, OutlierConfig(max_ejected=share))
