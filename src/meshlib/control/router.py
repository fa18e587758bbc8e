"""`service-router` in Consul's form: routes in order, the first that matches decides."""

from __future__ import annotations

import re

import msgspec

from meshlib.config import RetryConfig
from meshlib.config.routes import check_path
from meshlib.control.decoding import Duration, Fields
from meshlib.control.entry import Entry
from meshlib.control.http_match import HTTPMatch
from meshlib.errors import ConfigError
from meshlib.route.headers import HeaderChanges, check_changes

_RETRY_WORDS = {
    "attempts": "NumRetries",
    "on": "RetryOn",
    "statuses": "RetryOnStatusCodes",
}


class HeaderModifiers(Fields, frozen=True):
    """What is done to headers, on the way there or back."""

    add: dict[str, str] = msgspec.field(default_factory=dict)
    set: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_changes(self.changes())

    def changes(self) -> HeaderChanges:
        """The same, ready to be applied."""
        return HeaderChanges(tuple(self.add.items()), tuple(self.set.items()), self.remove)


class RouteMatch(Fields, frozen=True):
    """Which calls a route takes; Consul knows only HTTP here."""

    http: HTTPMatch | None = msgspec.field(default=None, name="HTTP")


class RouteDestination(Fields, frozen=True):
    """Where a route leads, and how.  Zero and empty mean not said, as in Consul."""

    service: str = ""
    """Empty: the service of the document."""
    service_subset: str = ""
    """Empty: as the service's own splitter and resolver say."""
    prefix_rewrite: str = ""
    """What the matched prefix, or exact path, becomes."""
    request_timeout: Duration = Duration(0)
    idle_timeout: Duration = Duration(0)
    """Silence that ends an attempt."""
    num_retries: int = 0
    retry_on_connect_failure: bool = False
    retry_on: tuple[str, ...] = ()
    """Of `config.retry.CONDITIONS`."""
    retry_on_status_codes: tuple[int, ...] = ()
    request_headers: HeaderModifiers = HeaderModifiers()
    response_headers: HeaderModifiers = HeaderModifiers()

    def __post_init__(self) -> None:
        if self.prefix_rewrite:
            check_path(self.prefix_rewrite, path="PrefixRewrite")
        self.retry(RetryConfig())

    def retry(self, policy: RetryConfig) -> RetryConfig | None:
        """The policy's retries, changed to what is said here; None: nothing is said.

        As Consul has it, who says something of retries gets one of them unless `NumRetries` says
        more, and what is named here replaces what the policy names.
        """
        conditions = self.retry_on + ("connect-failure",) * self.retry_on_connect_failure
        named = conditions or self.retry_on_status_codes
        if not (self.num_retries or named):
            return None
        changes = {"attempts": (self.num_retries or 1) + 1}
        try:
            changed = msgspec.structs.replace(policy, **changes)
            if not named:
                return changed
            return msgspec.structs.replace(
                changed,
                on=tuple(dict.fromkeys(conditions)),
                statuses=self.retry_on_status_codes,
            )
        except ConfigError as error:
            raise _as_consul(error, self.num_retries) from None


class RouterRoute(Fields, frozen=True):
    """A rule and where it leads."""

    match: RouteMatch = RouteMatch()
    destination: RouteDestination = RouteDestination()

    def __post_init__(self) -> None:
        check_rewrite(self.destination, self.match.http or HTTPMatch())


class ServiceRouter(Entry, frozen=True):
    """The routes of a service.  What none takes goes on to its splitter."""

    routes: tuple[RouterRoute, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, route in enumerate(self.routes[:-1]):
            if (route.match.http or HTTPMatch()).compiled().everything:
                hint = f"Routes[{number}] takes every call"
                raise ConfigError(f"Routes[{number + 1}]", "", "a route that is reached", hint=hint)


def check_rewrite(destination: RouteDestination, match: HTTPMatch) -> None:
    """Raise ConfigError for a rewrite of a prefix that nothing matched (Consul's rule)."""
    if destination.prefix_rewrite and match.matched() is None:
        expected = "nothing, without PathExact or PathPrefix"
        raise ConfigError("Destination.PrefixRewrite", destination.prefix_rewrite, expected)


def _as_consul(error: ConfigError, retries: int) -> ConfigError:
    """The same in the document's words."""
    field, index = re.fullmatch(r"([a-z_]+)(.*)", error.path).groups()  # type: ignore[union-attr]
    expected = error.why.removeprefix("expected ")
    if field == "attempts":
        return ConfigError("NumRetries", retries, "an integer 0..9")
    return ConfigError(_RETRY_WORDS.get(field, field) + index, error.value, expected)
