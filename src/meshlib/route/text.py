"""A question about one value: whether it is this, begins with that, or is there at all."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meshlib.errors import ConfigError
from meshlib.route.regex import Regex


class How(enum.Enum):
    """How a value is compared."""

    PRESENT = "Present"
    EXACT = "Exact"
    PREFIX = "Prefix"
    SUFFIX = "Suffix"
    CONTAINS = "Contains"
    REGEX = "Regex"


@dataclass(frozen=True, slots=True)
class Text:
    """A comparison with one operand.  Raises ConfigError for an expression RE2 does not accept."""

    how: How
    operand: str = ""
    ignore_case: bool = False
    passes: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    """Whether a value passes."""

    def __post_init__(self) -> None:
        if self.how not in {How.PRESENT, How.EXACT} and not self.operand:
            raise ConfigError(self.how.value, self.operand, "a text that is not empty")
        passes = _comparison(self.how, self.operand, ignore_case=self.ignore_case)
        object.__setattr__(self, "passes", passes)


def _comparison(how: How, operand: str, *, ignore_case: bool) -> Callable[[str], bool]:
    if how is How.PRESENT:
        return lambda _: True
    if how is How.REGEX:
        return Regex(operand, ignore_case=ignore_case, path=how.value).matches
    if ignore_case:
        folded = _COMPARISONS[how](operand.lower())
        return lambda value: folded(value.lower())
    return _COMPARISONS[how](operand)


_COMPARISONS: dict[How, Callable[[str], Callable[[str], bool]]] = {
    How.EXACT: lambda operand: operand.__eq__,
    How.PREFIX: lambda operand: lambda value: value.startswith(operand),
    How.SUFFIX: lambda operand: lambda value: value.endswith(operand),
    How.CONTAINS: lambda operand: lambda value: operand in value,
}


@dataclass(frozen=True, slots=True)
class Named:
    """A test of the header, cookie or query parameter called `name`.

    What is not there passes no test, not even an inverted one; only the inverted `Present` takes
    it.  That is Envoy's rule (`treat_missing_header_as_empty` is off).
    """

    name: str
    test: Text
    invert: bool = False

    def __call__(self, value: str | None) -> bool:
        """Whether the value passes; None: there is none."""
        if value is None:
            return self.invert and self.test.how is How.PRESENT
        return self.test.passes(value) is not self.invert


def header_value(headers: Mapping[str, str], name: str) -> str | None:
    """What a header says; several of one name are one, joined by commas (RFC 9110 section 5.3)."""
    value = headers.get(name)
    if value is None:
        return None
    every = getattr(headers, "getall", None)
    return value if every is None else ",".join(every(name))
