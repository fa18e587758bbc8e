"""
`traffic-policy`: our own kind of document, for what Consul has no words for.

Its fields are those of `meshlib.config.UpstreamConfig`, in PascalCase and with Go durations, plus
`Sticky`.  What is left out keeps the default that stands in `meshlib.config`.
"""

from __future__ import annotations

from typing import Any

from meshlib.config import UpstreamConfig, parse
from meshlib.control.decoding import Duration, Fields
from meshlib.control.entry import Entry
from meshlib.errors import ConfigError
from meshlib.route.sticky import Sticky


class BackoffPolicy(Fields, frozen=True):
    """`config.BackoffConfig`."""

    base: Duration | None = None
    cap: Duration | None = None


class BudgetPolicy(Fields, frozen=True):
    """`config.BudgetConfig`; `Floor` is retries a second."""

    share: float | None = None
    floor: float | None = None
    window: Duration | None = None


class RetryPolicy(Fields, frozen=True):
    """`config.RetryConfig`."""

    attempts: int | None = None
    per_try_timeout: Duration | None = None
    max_retry_after: Duration | None = None
    backoff: BackoffPolicy | None = None
    budget: BudgetPolicy | None = None


class BreakerPolicy(Fields, frozen=True):
    """`config.BreakerConfig`."""

    failures: int | None = None
    cooldown: Duration | None = None
    max_cooldown: Duration | None = None
    jitter: float | None = None
    lease: Duration | None = None


class ConnectPolicy(Fields, frozen=True):
    """`config.ConnectConfig`."""

    timeout: Duration | None = None
    idle: Duration | None = None


class StickyPolicy(Fields, frozen=True):
    """`route.sticky.Sticky`: either of the two."""

    header: str = ""
    cookie: str = ""


class TrafficPolicy(Entry, frozen=True):
    """How calls to a service are made."""

    timeout: Duration | None = None
    balancer: str | None = None
    """One of `config.BALANCERS`."""
    retry: RetryPolicy | None = None
    breaker: BreakerPolicy | None = None
    connect: ConnectPolicy | None = None
    sticky: StickyPolicy | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.upstream()
        self.stickiness()

    def upstream(self) -> UpstreamConfig:
        """The settings this document makes.  Raises ConfigError with the document's path."""
        said = _said(self)
        ours = {name: said[name] for name in UpstreamConfig.__struct_fields__ if name in said}
        try:
            return parse(UpstreamConfig, ours, path="")
        except ConfigError as error:
            expected = error.why.removeprefix("expected ")
            raise ConfigError(_pascal(error.path), error.value, expected) from None

    def stickiness(self) -> Sticky | None:
        """What keeps a caller on its version, if anything does.  Raises ConfigError."""
        return Sticky(self.sticky.header, self.sticky.cookie) if self.sticky else None


def _said(fields: Fields) -> dict[str, Any]:
    """Only what the document said, as plain data."""
    values = ((name, getattr(fields, name)) for name in fields.__struct_fields__)
    return {name: _plain(value) for name, value in values if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Fields):
        return _said(value)
    return float(value) if isinstance(value, Duration) else value


def _pascal(path: str) -> str:
    """`.retry.per_try_timeout` as the document spells it."""
    steps = path.strip(".").split(".")
    return ".".join("".join(word.capitalize() for word in step.split("_")) for step in steps)
