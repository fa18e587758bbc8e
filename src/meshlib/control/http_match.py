"""
What a route asks of a call, as documents say it: Consul's `Match.HTTP`, and what it lacks.

Consul's part is `HTTPMatch`; `PolicyMatch`, for `traffic-policy`, adds cookies, comparisons by
suffix, by part and without regard to case, segments and callers.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshlib.config.routes import check_methods, check_name
from meshlib.control.decoding import Fields
from meshlib.errors import ConfigError
from meshlib.route.match import HttpMatch, PathTest, Segment
from meshlib.route.text import How, Named, Text


class ValueTest(Fields, frozen=True):
    """A test of one named value: exactly one comparison.  Empty means not said, as in Consul."""

    name: str
    present: bool = False
    exact: str = ""
    regex: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("Name", self.name, "the name of what is tested")
        if len(self._said()) != 1:
            given = [how.value for how in self._said()]
            names = [how.value for how in How if hasattr(self, how.value.lower())]
            raise ConfigError("", given, f"exactly one of {', '.join(names)}")
        self.named()

    def named(self) -> Named:
        """The test.  Raises ConfigError."""
        (how,) = self._said()
        operand = "" if how is How.PRESENT else getattr(self, how.value.lower())
        folded = bool(getattr(self, "ignore_case", False))
        return Named(self.name, Text(how, operand, folded), bool(getattr(self, "invert", False)))

    def _said(self) -> list[How]:
        return [how for how in How if getattr(self, how.value.lower(), None)]


class HeaderTest(ValueTest, frozen=True):
    """A header, as a `service-router` may test it."""

    prefix: str = ""
    suffix: str = ""
    invert: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name, path="Name")


class AnyTest(HeaderTest, frozen=True):
    """A header or a cookie, as a `traffic-policy` may test it."""

    contains: str = ""
    ignore_case: bool = False


class HTTPMatch(Fields, frozen=True):
    """All that is said has to hold."""

    path_exact: str = ""
    path_prefix: str = ""
    """Of characters: `/api` takes `/apis` too."""
    path_regex: str = ""
    """RE2, and it matches the whole path."""
    case_insensitive: bool = False
    """Of the path."""
    header: tuple[HeaderTest, ...] = ()
    query_param: tuple[ValueTest, ...] = ()
    methods: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_methods(self.methods, path="Methods")
        self.path()

    def path(self) -> PathTest | None:
        """The test of the path.  Raises ConfigError."""
        given = self._paths()
        if not given:
            return None
        if len(given) > 1:
            names = [f"Path{how.value}" for how, _ in given]
            raise ConfigError("", names, "one of PathExact, PathPrefix and PathRegex")
        how, operand = given[0]
        if how is not How.REGEX and not operand.startswith("/"):
            raise ConfigError(f"Path{how.value}", operand, "a path that begins with /")
        try:
            return PathTest(Text(how, operand, self.case_insensitive))
        except ConfigError as error:
            expected = error.why.removeprefix("expected ")
            raise ConfigError(f"Path{error.path}", operand, expected, hint=error.hint) from None

    def matched(self) -> int | None:
        """How many characters of the path the match fixes; None when it fixes none."""
        return len(self.path_exact or self.path_prefix) or None

    def compiled(self) -> HttpMatch:
        """The match."""
        return HttpMatch(
            self.path(),
            frozenset(self.methods),
            tuple(test.named() for test in self.header),
            tuple(test.named() for test in self.query_param),
        )

    def _paths(self) -> list[tuple[How, str]]:
        paths = {
            How.EXACT: self.path_exact,
            How.PREFIX: self.path_prefix,
            How.REGEX: self.path_regex,
        }
        return [(how, operand) for how, operand in paths.items() if operand]


class PolicyMatch(HTTPMatch, frozen=True):
    """What a `traffic-policy` may ask on top."""

    header: tuple[AnyTest, ...] = ()
    cookie: tuple[AnyTest, ...] = ()
    segments: tuple[str, ...] = ()
    """Groups of calls that the calling program defines (`Mesh(segments=...)`): one has to hold.
    In a program that defines none of them the route takes nothing."""
    sources: tuple[str, ...] = ()
    """Only for callers of these services; for all if empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compiled().everything and not (self.segments or self.sources):
            hint = "what is to hold for all calls stands at the top of the document"
            raise ConfigError("", {}, "a condition", hint=hint)

    def within(self, source: str, segments: Mapping[str, Segment]) -> HttpMatch | None:
        """The match as one caller has it; None: it takes none of that caller's calls."""
        known = tuple(segments[name] for name in self.segments if name in segments)
        if (self.sources and source not in self.sources) or (self.segments and not known):
            return None
        return self.compiled(known)

    def compiled(self, segments: tuple[Segment, ...] = ()) -> HttpMatch:
        """The match, with the segments this program knows."""
        plain = super().compiled()
        cookies = tuple(test.named() for test in self.cookie)
        return HttpMatch(plain.path, plain.methods, plain.headers, plain.query, cookies, segments)
