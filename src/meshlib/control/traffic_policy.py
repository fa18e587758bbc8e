"""
`traffic-policy`: our own kind of document, for what Consul has no words for.

Its fields are those of `meshlib.config.UpstreamConfig`, in PascalCase and with Go durations, plus
`Sticky`, `Serving` and what `control.route_policies` says of routes.  What is left out keeps the
default that stands in `meshlib.config`.
"""

from __future__ import annotations

from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.control.balance_policies import HashPolicy, PeakEwmaPolicy, SlowStartPolicy
from meshlib.control.decoding import Duration, Fields
from meshlib.control.entry import Entry
from meshlib.control.limit_policies import (
    BulkheadPolicy,
    CircuitPolicy,
    ConcurrencyPolicy,
    QuotaPolicy,
    ServingPolicy,
)
from meshlib.control.mapping import parsed, said
from meshlib.control.route_policies import (
    FallbackPolicy,
    FaultPolicy,
    MirrorPolicy,
    PolicyRoute,
)
from meshlib.errors import ConfigError
from meshlib.route.sticky import Sticky
from meshlib.trust import spiffe


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
    on: tuple[str, ...] | None = None
    statuses: tuple[int | str, ...] | None = None
    methods: tuple[str, ...] | None = None
    non_idempotent: bool | None = None
    per_try_timeout: Duration | None = None
    adaptive_timeout: bool | None = None
    other_locality: bool | None = None
    max_retry_after: Duration | None = None
    credit: int | None = None
    backoff: BackoffPolicy | None = None
    budget: BudgetPolicy | None = None


class HedgePolicy(Fields, frozen=True):
    """`config.HedgeConfig`."""

    enabled: bool | None = None
    quantile: float | None = None
    least: Duration | None = None
    share: float | None = None


class OutlierPolicy(Fields, frozen=True):
    """`config.OutlierConfig`; `Poison` of `0s` switches that rule off."""

    connect_failures: int | None = None
    failures: int | None = None
    success_rate: float | None = None
    requests: int | None = None
    window: Duration | None = None
    cooldown: Duration | None = None
    max_cooldown: Duration | None = None
    jitter: float | None = None
    lease: Duration | None = None
    max_ejected: float | None = None
    min_endpoints: int | None = None
    bias: float | None = None
    panic: float | None = None
    stall: float | None = None
    poison: Duration | None = None


class LocalityPolicy(Fields, frozen=True):
    """`config.LocalityConfig`."""

    mode: str | None = None
    overprovisioning: float | None = None
    min_endpoints: int | None = None


class SessionPolicy(Fields, frozen=True):
    """`config.SessionConfig`; `TTL` is spelled `Ttl`, as all fields are."""

    cookie: str | None = None
    header: str | None = None
    ttl: Duration | None = None
    path: str | None = None
    strict: bool | None = None


class ConnectPolicy(Fields, frozen=True):
    """`config.ConnectConfig`."""

    timeout: Duration | None = None
    idle: Duration | None = None
    spiffe_id: str | None = None

    def __post_init__(self) -> None:
        if self.spiffe_id:
            _check_id(self.spiffe_id)


def _check_id(text: str) -> None:
    wanted = "the id of a workload: spiffe://<trust domain>/<path>"
    try:
        found = spiffe.parse(text)
    except ConfigError as exc:
        wanted = exc.why.removeprefix("expected ")
    else:
        if found.path:
            return
    raise ConfigError("SpiffeId", text, wanted)


class StickyPolicy(Fields, frozen=True):
    """`route.sticky.Sticky`: either of the two."""

    header: str = ""
    cookie: str = ""


class TrafficPolicy(Entry, frozen=True):
    """How calls to a service are made."""

    timeout: Duration | None = None
    balancer: str | None = None
    """One of `config.BALANCERS`."""
    peak_ewma: PeakEwmaPolicy | None = None
    slow_start: SlowStartPolicy | None = None
    hashing: HashPolicy | None = None
    retry: RetryPolicy | None = None
    hedge: HedgePolicy | None = None
    outlier: OutlierPolicy | None = None
    locality: LocalityPolicy | None = None
    session: SessionPolicy | None = None
    connect: ConnectPolicy | None = None
    sticky: StickyPolicy | None = None
    rate: QuotaPolicy | None = None
    concurrency: ConcurrencyPolicy | None = None
    bulkhead: BulkheadPolicy | None = None
    circuit: CircuitPolicy | None = None
    serving: ServingPolicy | None = None
    """What the service itself lets in; the rest is for its callers."""
    routes: tuple[PolicyRoute, ...] = ()
    """Tried before those of a `service-router`, in the order that `route.match.precedence` says."""
    mirror: tuple[MirrorPolicy, ...] = ()
    """Of this and the next two: for every route that says none of its own."""
    fault: FaultPolicy | None = None
    fallback: FallbackPolicy | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.upstream()
        self.served()
        self.stickiness()
        named = [route.name for route in self.routes]
        for number, name in enumerate(named):
            if name and name in named[:number]:
                raise ConfigError(f"Routes[{number}].Name", name, "every name once")

    def upstream(self) -> UpstreamConfig:
        """The settings this document makes.  Raises ConfigError with the document's path."""
        given = said(self)
        ours = {name: given[name] for name in UpstreamConfig.__struct_fields__ if name in given}
        return parsed(UpstreamConfig, ours, "")

    def served(self) -> ServingConfig:
        """The limits of the service itself.  Raises ConfigError with the document's path."""
        given = said(self.serving) if self.serving else {}
        return parsed(ServingConfig, given, "serving")

    def stickiness(self) -> Sticky | None:
        """What keeps a caller on its version, if anything does.  Raises ConfigError."""
        return Sticky(self.sticky.header, self.sticky.cookie) if self.sticky else None
