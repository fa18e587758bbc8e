"""The parts of a `traffic-policy` about limits: `meshlib.config.limits`, as documents spell it."""

from __future__ import annotations

from typing import Literal

from meshlib.control.decoding import Duration, Fields
from meshlib.control.token_policies import JwtPolicy


class QuotaPolicy(Fields, frozen=True):
    """`config.QuotaConfig`: `{"Limit": 100, "Per": "1s"}`."""

    limit: float
    per: Duration | None = None
    burst: int | None = None


class RouteQuotaPolicy(QuotaPolicy, frozen=True):
    """`config.RouteQuotaConfig`."""

    path: str | None = None
    method: str | None = None


class RatesPolicy(Fields, frozen=True):
    """`config.RatesConfig`."""

    total: QuotaPolicy | None = None
    per_caller: QuotaPolicy | None = None
    callers: dict[str, QuotaPolicy] | None = None
    routes: tuple[RouteQuotaPolicy, ...] | None = None
    max_keys: int | None = None


class SharedRatesPolicy(RatesPolicy, frozen=True):
    """`config.SharedRatesConfig`."""

    url: str | None = None
    timeout: Duration | None = None
    pause: Duration | None = None
    on_failure: Literal["rescue", "allow", "deny"] | None = None


class ConcurrencyPolicy(Fields, frozen=True):
    """`config.ConcurrencyConfig`; adaptive without a `Limit`."""

    limit: int | None = None
    least: int | None = None
    most: int | None = None
    initial: int | None = None
    headroom: float | None = None
    window: Duration | None = None
    samples: int | None = None
    renewal: Duration | None = None


class ShedPolicy(Fields, frozen=True):
    """`config.ShedConfig`."""

    lag: Duration | None = None
    cpu: float | None = None
    interval: Duration | None = None


class ServingPolicy(Fields, frozen=True):
    """`config.ServingConfig`: read by the service of the document's name itself."""

    rate: RatesPolicy | None = None
    shared_rate: SharedRatesPolicy | None = None
    concurrency: ConcurrencyPolicy | None = None
    shed: ShedPolicy | None = None
    authorization: Literal["enforce", "audit"] | None = None
    mtls: Literal["strict", "permissive"] | None = None
    jwt: JwtPolicy | None = None


class BulkheadPolicy(Fields, frozen=True):
    """`config.BulkheadConfig`."""

    connections: int | None = None
    pending: int | None = None
    requests: int | None = None
    retries: int | None = None


class CircuitPolicy(Fields, frozen=True):
    """`config.CircuitConfig`."""

    failures: float | None = None
    calls: int | None = None
    window: Duration | None = None
    slow_after: Duration | None = None
    slow: float | None = None
    cooldown: Duration | None = None
    max_cooldown: Duration | None = None
    jitter: float | None = None
    probes: int | None = None
    lease: Duration | None = None
    state: Literal["auto", "disabled", "forced_open", "metrics_only"] | None = None
