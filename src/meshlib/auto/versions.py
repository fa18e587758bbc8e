"""Whether a version lies in a range: the releases of PEP 440, as far as libraries' ranges go."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from itertools import zip_longest

_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_BOUND = re.compile(r"(>=|<=|<|>|==)(\d+(?:\.\d+)*)")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
}


def within(version: str, bounds: str) -> bool:
    """Whether `version` ("2.32.1", "3.0rc1") meets all `bounds` (">=2.30,<3").

    A pre-release counts as its release, and what has no number at all is in no range.  Raises
    ValueError for bounds that are none.
    """
    release = _RELEASE.match(version)
    return release is not None and all(
        _meets(release[0], each.strip()) for each in bounds.split(",")
    )


def _meets(release: str, bound: str) -> bool:
    match = _BOUND.fullmatch(bound)
    if match is None:
        message = f"{bound!r}: expected a bound like '>=2.30'"
        raise ValueError(message)
    return _COMPARE[match[1]](_order(release, match[2]), 0)


def _order(one: str, other: str) -> int:
    """Less than, equal to or greater than zero, as `one` is to `other`; 1.0 is 1."""
    pairs = zip_longest(_numbers(one), _numbers(other), fillvalue=0)
    return next((a - b for a, b in pairs if a != b), 0)


def _numbers(release: str) -> list[int]:
    return [int(each) for each in release.split(".")]
