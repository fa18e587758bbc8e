"""
The policies' settings: frozen, comparable, checked once.

Every default stands here and nowhere else, with its precedent beside it.  Seconds are floats,
shares are fractions 0..1.  A bad value raises `ConfigError` with the field's path; `parse` adds
the path of what surrounds it and refuses unknown fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any, TypeVar

import msgspec

from meshlib.errors import ConfigError


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings."""

    def _check(self, field: str, *, expected: str, ok: bool) -> None:
        if not ok:
            raise ConfigError(field, getattr(self, field), expected)

    def _at_least(self, least: float, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            fine = isfinite(value) and value >= least
            self._check(field, expected=f"a number >= {least:g}", ok=fine)

    def _positive(self, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            self._check(field, expected="a number > 0", ok=isfinite(value) and value > 0)

    def _share(self, *fields: str) -> None:
        for field in fields:
            self._check(field, expected="a fraction 0..1", ok=0 <= getattr(self, field) <= 1)


class BackoffConfig(Config, frozen=True):
    """Full jitter: uniform in [0, min(cap, base * 2**n))."""

    base: float = 0.025
    """Envoy's base interval."""
    cap: float = 0.25
    """Envoy: ten times the base."""

    def __post_init__(self) -> None:
        self._at_least(0, "base", "cap")
        self._check("cap", expected=f"at least base ({self.base:g})", ok=self.cap >= self.base)


class BudgetConfig(Config, frozen=True):
    """How many retries a stream of calls may cause."""

    share: float = 0.2
    """Linkerd, Finagle and GEP-3388: 20 % of the calls ..."""
    floor: float = 10.0
    """... plus 10 a second, so that quiet services may retry too ..."""
    window: float = 10.0
    """... counted over 10 s."""

    def __post_init__(self) -> None:
        self._at_least(0, "share", "floor")
        self._positive("window")


class RetryConfig(Config, frozen=True):
    """When a failed attempt is followed by another."""

    attempts: int = 3
    """Tries in all: Istio's default of two retries."""
    per_try_timeout: float = inf
    """Seconds one attempt may take; never more than the deadline leaves."""
    max_retry_after: float = 300.0
    """Seconds a peer may ask to be left alone; who asks for more is not asked again (Linkerd)."""
    backoff: BackoffConfig = BackoffConfig()
    budget: BudgetConfig = BudgetConfig()

    def __post_init__(self) -> None:
        self._check("attempts", expected="an integer 1..10", ok=1 <= self.attempts <= 10)
        self._check("per_try_timeout", expected="a number > 0", ok=self.per_try_timeout > 0)
        self._at_least(0, "max_retry_after")


class BreakerConfig(Config, frozen=True):
    """The breaker of one endpoint."""

    failures: int = 5
    """Failures in a row that open it: Envoy's consecutive_5xx, Finagle's failure accrual."""
    cooldown: float = 1.0
    """Seconds the first opening lasts: Linkerd's min penalty ..."""
    max_cooldown: float = 60.0
    """... doubled by each failed probe up to Linkerd's max penalty."""
    jitter: float = 0.5
    """Share of the cooldown added at random: Linkerd's jitter ratio."""
    lease: float = 30.0
    """Seconds after which a probe that never reported is given up: Resilience4j's lesson."""

    def __post_init__(self) -> None:
        self._check("failures", expected="an integer >= 1", ok=self.failures >= 1)
        self._positive("cooldown", "max_cooldown", "lease")
        longest = f"at least cooldown ({self.cooldown:g})"
        self._check("max_cooldown", expected=longest, ok=self.max_cooldown >= self.cooldown)
        self._share("jitter")


class ConnectConfig(Config, frozen=True):
    """Connections to the endpoints of one upstream."""

    timeout: float = 1.0
    """Seconds for TCP and the TLS handshake together: Linkerd's outbound connect timeout."""
    idle: float = 20.0
    """Seconds an idle connection is kept; below every meshlib server's 60 s, so that a request
    never meets a connection its server is just closing (Linkerd, keep-alive race)."""

    def __post_init__(self) -> None:
        self._positive("timeout", "idle")


BALANCERS = ("least_request", "round_robin")


class UpstreamConfig(Config, frozen=True):
    """All that shapes calls to one service."""

    timeout: float = 15.0
    """Seconds a call may take, all attempts together: Envoy's route timeout."""
    balancer: str = "least_request"
    """One of `BALANCERS`."""
    retry: RetryConfig = RetryConfig()
    breaker: BreakerConfig = BreakerConfig()
    connect: ConnectConfig = ConnectConfig()

    def __post_init__(self) -> None:
        self._positive("timeout")
        choices = f"one of {', '.join(BALANCERS)}"
        self._check("balancer", expected=choices, ok=self.balancer in BALANCERS)


ConfigT = TypeVar("ConfigT")


def parse(kind: type[ConfigT], value: Mapping[str, Any], *, path: str) -> ConfigT:
    """Make `kind` of plain data; raises ConfigError naming `path`, the field and its value."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise _explained(exc, value, path) from None


def _explained(exc: msgspec.ValidationError, value: object, path: str) -> ConfigError:
    """Turn msgspec's "... - at `$.a.b[0]`" into the path, the value there, and what was right."""
    cause = exc.__cause__
    reason, _, where = str(exc).partition(" - at `$")
    where = where.rstrip("`")
    if isinstance(cause, ConfigError):
        field = f"{where}.{cause.path}".lstrip(".")
        return ConfigError(f"{path}.{field}", cause.value, cause.why.removeprefix("expected "))
    if "unknown field" in reason:
        where = f"{where}.{reason.rsplit('`', 2)[-2]}"
        reason = "a field that exists"
    reason = reason.removeprefix("Expected ")
    return ConfigError(f"{path}{where}", _look_up(value, where), reason)


def _look_up(value: Any, where: str) -> object:
    for step in where.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, list) and step.isdigit():
            value = value[int(step)]
        elif isinstance(value, Mapping) and step:
            value = value.get(step)
    return value
