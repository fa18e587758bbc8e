"""What a rule may ask of a request: its path, its method, its headers, and its end user's token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

Claims: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What verified tokens of the end user say, by the provider that issued them."""

NO_CLAIMS: Claims = {}


class PathTest(Protocol):
    """A question about a path."""

    @property
    def passes(self) -> Callable[[str], bool]:
        """Whether a path passes."""


class HeaderTest(Protocol):
    """A question about one header."""

    @property
    def name(self) -> str:
        """Which header, in lower case."""

    def __call__(self, value: str | None) -> bool:
        """Whether the value passes; None: there is none."""


def _no_header(_: str) -> str | None:
    return None


class Request(NamedTuple):
    """What permissions look at."""

    method: str
    path: str | None
    """As `paths.plain_path` reads it; None: it has no one reading."""
    header: Callable[[str], str | None] = _no_header
    """The value of a header by its lower-case name; several of one name are joined by commas."""
    claims: Claims = NO_CLAIMS


@dataclass(frozen=True, slots=True)
class ClaimTest:
    """One claim, at a path of names, must have this value."""

    path: tuple[str, ...]
    value: str

    def __call__(self, claims: Mapping[str, Any]) -> bool:
        """Whether it has; a list of values has it as one of them."""
        found: Any = claims
        for step in self.path:
            if not isinstance(found, Mapping) or step not in found:
                return False
            found = found[step]
        return self.value in found if isinstance(found, list | tuple) else found == self.value


@dataclass(frozen=True, slots=True)
class TokenTest:
    """A token of one of these providers, with all the claims asked of that provider."""

    providers: tuple[tuple[str, tuple[ClaimTest, ...]], ...]

    def present(self, claims: Claims) -> bool:
        """Whether any of the providers vouched for the end user."""
        return any(name in claims for name, _ in self.providers)

    def passes(self, claims: Claims) -> bool:
        """Whether one of them did, and said what is asked for."""
        return any(
            name in claims and all(test(claims[name]) for test in tests)
            for name, tests in self.providers
        )


@dataclass(frozen=True, slots=True)
class Permission:
    """What is allowed, or denied; all that is asked for has to hold."""

    allow: bool
    path: PathTest | None = None
    methods: frozenset[str] = frozenset()
    """Empty: all."""
    headers: tuple[HeaderTest, ...] = ()
    token: TokenTest | None = None


def all_pass(headers: tuple[HeaderTest, ...], request: Request) -> bool:
    """Whether the request passes the tests of all these headers."""
    return all(test(request.header(test.name)) for test in headers)
