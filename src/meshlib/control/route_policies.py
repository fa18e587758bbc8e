"""The part of `traffic-policy` that says what Consul's routers cannot."""

from __future__ import annotations

from meshlib.config.routes import (
    AnswerConfig,
    FallbackConfig,
    FaultConfig,
    MirrorConfig,
    RedirectConfig,
    check_host,
)
from meshlib.control.decoding import Duration, Fields
from meshlib.control.http_match import PolicyMatch
from meshlib.control.mapping import settings
from meshlib.control.router import RouteDestination, check_rewrite
from meshlib.errors import ConfigError
from meshlib.route.regex import Regex
from meshlib.route.rewrite import RegexRewrite


class MirrorPolicy(Fields, frozen=True):
    """`config.routes.MirrorConfig`."""

    service: str
    service_subset: str | None = None
    percent: float | None = None
    methods: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.mirror()

    def mirror(self) -> MirrorConfig:
        """The settings.  Raises ConfigError."""
        return settings(MirrorConfig, self)


class FaultPolicy(Fields, frozen=True):
    """`config.routes.FaultConfig`."""

    delay: Duration | None = None
    delay_percent: float | None = None
    abort: int | None = None
    abort_percent: float | None = None
    from_headers: bool | None = None
    max_active: int | None = None

    def __post_init__(self) -> None:
        self.fault()

    def fault(self) -> FaultConfig:
        """The settings.  Raises ConfigError."""
        return settings(FaultConfig, self)


class AnswerPolicy(Fields, frozen=True):
    """`config.routes.AnswerConfig`."""

    status: int | None = None
    body: str | None = None
    headers: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self.answer()

    def answer(self) -> AnswerConfig:
        """The settings.  Raises ConfigError."""
        return settings(AnswerConfig, self)


class FallbackPolicy(AnswerPolicy, frozen=True):
    """`config.routes.FallbackConfig`."""

    on: tuple[str, ...] | None = None

    def answer(self) -> FallbackConfig:
        """The settings.  Raises ConfigError."""
        return settings(FallbackConfig, self)


class RedirectPolicy(Fields, frozen=True):
    """`config.routes.RedirectConfig`."""

    status: int | None = None
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None
    strip_query: bool | None = None

    def __post_init__(self) -> None:
        self.redirect()

    def redirect(self) -> RedirectConfig:
        """The settings.  Raises ConfigError."""
        return settings(RedirectConfig, self)


class RegexRewritePolicy(Fields, frozen=True):
    """Every part of the path that matches `Regex` becomes `Substitution`."""

    regex: str
    substitution: str

    def __post_init__(self) -> None:
        self.rewrite()

    def rewrite(self) -> RegexRewrite:
        """The rewrite.  Raises ConfigError."""
        return RegexRewrite(Regex(self.regex, path="Regex"), self.substitution)


class PolicyRoute(Fields, frozen=True):
    """A rule, where it leads, and what is done on the way."""

    match: PolicyMatch
    name: str = ""
    """For humans: spans and errors say it."""
    destination: RouteDestination = RouteDestination()
    regex_rewrite: RegexRewritePolicy | None = None
    host_rewrite: str = ""
    redirect: RedirectPolicy | None = None
    answer: AnswerPolicy | None = None
    mirror: tuple[MirrorPolicy, ...] | None = None
    """None: those of the service; an empty list: none."""
    fault: FaultPolicy | None = None
    fallback: FallbackPolicy | None = None

    def __post_init__(self) -> None:
        check_rewrite(self.destination, self.match)
        if self.host_rewrite:
            check_host(self.host_rewrite, path="HostRewrite")
        self._check_one("RegexRewrite", self.regex_rewrite, self.destination.prefix_rewrite)
        self._check_one("Redirect", self.redirect, self.answer)
        if self.redirect and self.redirect.prefix and self.match.matched() is None:
            expected = "nothing, without PathExact or PathPrefix"
            raise ConfigError("Redirect.Prefix", self.redirect.prefix, expected)

    def _check_one(self, path: str, one: object, other: object) -> None:
        if one and other:
            others = {"RegexRewrite": "Destination.PrefixRewrite", "Redirect": "Answer"}
            raise ConfigError(path, "given", f"nothing beside {others[path]}: either of the two")
