"""How likely it is that a split which was kept shows the counts that were seen."""

from __future__ import annotations

from collections.abc import Mapping
from math import erfc, inf, sqrt

LEAST_P = 0.001
"""Below this the split is taken to differ from what was set: one false alarm in a thousand."""


def chi_square(seen: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Pearson's statistic of the counts against the shares, which add up to 1.

    Infinite when something was seen that has no share.
    """
    total = sum(seen.values())
    if any(count and not shares.get(name) for name, count in seen.items()):
        return inf
    expected = {name: total * share for name, share in shares.items() if share}
    return sum((seen.get(name, 0) - want) ** 2 / want for name, want in expected.items() if total)


def survival(statistic: float) -> float:
    """The chance of a chi-square at least as large with one degree of freedom.

    With one degree the statistic is the square of a standard normal variable, hence erfc
    (Abramowitz and Stegun, 26.4.4 and 7.1.2).
    """
    return erfc(sqrt(statistic / 2))


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile, `share` in 0..1; 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
