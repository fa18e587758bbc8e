"""
Whether a route is for a call: path, method, headers, query parameters, cookies, segments.

Conditions of one match all have to hold.  Paths are compared as they are sent, without the query:
a prefix is a prefix of characters (Consul, Envoy), so that `/api` takes `/apis` too; write `/api/`
where that matters.

`precedence` orders matches that come in no order, by the rules of Gateway API (HTTPRoute, "Matches
are independent"): exact path, then the longest prefix, then an expression, then no path; then a
method, then more headers, then more query parameters; cookies and segments, which Gateway API does
not know, after these.  What is equal in all of it keeps the order in which it was written.  Routes
of `traffic-policy` are ordered so; those of a `service-router` are tried as they stand, as Consul
does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import parse_qsl

from meshlib.model import Call
from meshlib.policy.cookies import cookie_value
from meshlib.route.text import How, Named, Text, header_value

Segment: TypeAlias = Callable[[Call], bool]
"""Whether a call is one of a group; a function of the program's."""

REMEMBERED = 1024
"""Decisions kept for each expression, the least recently used goes first ..."""
LONGEST_REMEMBERED = 256
"""... of paths no longer than this: no more than some hundred KiB each."""

_RANKS = {How.EXACT: 3, How.PREFIX: 2, How.REGEX: 1}


@dataclass(frozen=True, slots=True)
class PathTest:
    """A test of the path; what an expression says of a path is remembered."""

    test: Text
    passes: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    """Whether a path passes."""

    def __post_init__(self) -> None:
        passes = self.test.passes
        if self.test.how is How.REGEX:
            passes = _remembering(passes)
        object.__setattr__(self, "passes", passes)

    @property
    def rank(self) -> tuple[int, int]:
        """Exact before prefix before expression; of two prefixes the longer one."""
        how = self.test.how
        return _RANKS.get(how, 0), len(self.test.operand) if how is How.PREFIX else 0


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """All of what is said has to hold; nothing said takes every call."""

    path: PathTest | None = None
    methods: frozenset[str] = frozenset()
    headers: tuple[Named, ...] = ()
    query: tuple[Named, ...] = ()
    cookies: tuple[Named, ...] = ()
    segments: tuple[Segment, ...] = ()
    """One of them has to hold."""

    def __call__(self, call: Call) -> bool:
        """Whether the call passes; what costs least is asked first."""
        if self.methods and call.method not in self.methods:
            return False
        if self.path is not None and not self.path.passes(call.path):
            return False
        if self.headers and not self._headers(call):
            return False
        if self.query and not self._query(call):
            return False
        if self.cookies and not self._cookies(call):
            return False
        return not self.segments or any(segment(call) for segment in self.segments)

    def _headers(self, call: Call) -> bool:
        return all(test(header_value(call.headers, test.name)) for test in self.headers)

    def _query(self, call: Call) -> bool:
        said = query_values(call.query)
        return all(test(said.get(test.name)) for test in self.query)

    def _cookies(self, call: Call) -> bool:
        header = call.headers.get("cookie", "")
        return all(test(cookie_value(header, test.name) or None) for test in self.cookies)

    @property
    def everything(self) -> bool:
        """Whether it takes every call."""
        prefix = self.path is None or (
            self.path.test.how is How.PREFIX and self.path.test.operand == "/"
        )
        rest = self.methods or self.headers or self.query or self.cookies or self.segments
        return prefix and not rest


def _remembering(ask: Callable[[str], bool]) -> Callable[[str], bool]:
    remembered = lru_cache(maxsize=REMEMBERED)(ask)

    def passes(path: str) -> bool:
        return ask(path) if len(path) > LONGEST_REMEMBERED else remembered(path)

    return passes


def query_values(query: str) -> dict[str, str]:
    """Decoded parameters; of several of one name the first counts, as in Envoy."""
    said: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        said.setdefault(name, value)
    return said


def precedence(match: HttpMatch) -> tuple[int, ...]:
    """What to sort by: the smallest is tried first.  Total, so that sorting is stable."""
    kind, length = match.path.rank if match.path is not None else (0, 0)
    return (
        -kind,
        -length,
        -bool(match.methods),
        -len(match.headers),
        -len(match.query),
        -len(match.cookies),
        -len(match.segments),
    )
