from __future__ import annotations

from math import inf

import pytest

from meshlib.demo.chance import chi_square, percentile, survival


@pytest.mark.parametrize(
    ("statistic", "chance"),
    # critical values of one degree of freedom: any textbook's chi-square table
    [(0.0, 1.0), (2.706, 0.10), (3.841, 0.05), (6.635, 0.01), (10.828, 0.001)],
)
def test_survival_meets_the_table(statistic, chance):
    """The chance is the one printed in the tables, to their precision."""
    assert chance == pytest.approx(survival(statistic), rel=1e-3)


def test_survival_of_the_impossible_is_zero():
    """An infinite statistic has no chance."""
    assert 0.0 == survival(inf)


def test_the_statistic_is_pearsons():
    """(95-90)**2/90 + (5-10)**2/10, worked by hand."""
    seen, shares = {"v1": 95, "v2": 5}, {"v1": 0.9, "v2": 0.1}
    assert 25 / 90 + 25 / 10 == pytest.approx(chi_square(seen, shares))


def test_what_was_not_seen_counts():
    """A version that never answered adds all it should have answered."""
    assert 900 / 90 * 10 / 9 * 10 == pytest.approx(chi_square({"v1": 1000}, {"v1": 0.9, "v2": 0.1}))


def test_what_has_no_share_must_not_be_seen():
    """One answer of a version that was to get nothing is infinitely wrong."""
    assert inf == chi_square({"v1": 10, "v3": 1}, {"v1": 1.0, "v3": 0.0})
    assert 0 == chi_square({"v1": 10}, {"v1": 1.0, "v3": 0.0})


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles(share, expected):
    """The nearest rank of 1..100, in whatever order they come."""
    assert expected == percentile([float(n) for n in range(100, 0, -1)], share)


def test_the_percentile_of_nothing():
    """Nothing seen is 0.0."""
    assert 0.0 == percentile([], 0.5)
