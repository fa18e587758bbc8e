"""
How much is too much: rates, concurrency, shedding, bulkheads and circuits.

All of them are off until somebody gives them; what is given has these defaults.
"""

from __future__ import annotations

from math import ceil
from typing import Literal

import msgspec

from meshlib.config.base import Config
from meshlib.config.tokens import JwtConfig


class QuotaConfig(Config, frozen=True):
    """`limit` requests in every `per` seconds, evenly spread, and `burst` of them at once."""

    limit: float
    per: float = 1.0
    """Seconds: Envoy's fill_interval."""
    burst: int = 0
    """How many may come at once; 0: as many as `limit`, which is what a full bucket holds."""

    def __post_init__(self) -> None:
        self._positive("limit", "per")
        self._at_least(0, "burst")

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.limit / self.per

    @property
    def depth(self) -> int:
        """How many may come at once."""
        return self.burst or max(1, ceil(self.limit))


class RouteQuotaConfig(QuotaConfig, frozen=True):
    """A quota for what is asked for at or below a path; all callers share it."""

    path: str = "/"
    """Whole segments: "/api" is at or above "/api/items", and not above "/apiary"."""
    method: str = ""
    """Empty: every method."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("path", expected='a path, such as "/api"', ok=self.path.startswith("/"))
        upper = self.method == self.method.upper()
        self._check("method", expected='a method in upper case, such as "POST"', ok=upper)


class RatesConfig(Config, frozen=True):
    """Rate limits of what a service serves (Linkerd's HTTPLocalRateLimitPolicy, with routes)."""

    total: QuotaConfig | None = None
    per_caller: QuotaConfig | None = None
    """Each caller by its proven identity; on the edge by its address."""
    callers: dict[str, QuotaConfig] = msgspec.field(default_factory=dict)
    """Other quotas for some callers, by their service: Linkerd's overrides."""
    routes: tuple[RouteQuotaConfig, ...] = ()
    """The first that matches counts."""
    max_keys: int = 10_000
    """Callers remembered at a time, about 200 bytes each; the rest share one bucket, so that a
    flood of identities uses up neither the memory nor the total."""

    def __post_init__(self) -> None:
        self._check("max_keys", expected="an integer >= 1", ok=self.max_keys >= 1)


class SharedRatesConfig(RatesConfig, frozen=True):
    """Rate limits that all instances of a service count together, in Redis."""

    url: str = "redis://127.0.0.1:6379/0"
    """redis:, rediss: (TLS) or unix:, as redis-py reads it."""
    timeout: float = 0.02
    """Seconds one question may take, connecting included: Envoy's rate limit service has 20 ms."""
    pause: float = 1.0
    """Seconds a Redis that failed is left alone; then one request asks again (go-zero: 100 ms
    pings; here a request pays for the question, so it is asked less often)."""
    on_failure: Literal["rescue", "allow", "deny"] = "rescue"
    """Meanwhile: `rescue` counts in this process, with a share of the quota by the number of live
    instances (go-zero); `allow` is Envoy's default; `deny` lets nobody through."""

    def __post_init__(self) -> None:
        super().__post_init__()
        schemes = ("redis://", "rediss://", "unix://")
        expected = 'a Redis URL, such as "redis://127.0.0.1:6379/0"'
        self._check("url", expected=expected, ok=self.url.startswith(schemes))
        self._positive("timeout")
        self._at_least(0, "pause")


class ConcurrencyConfig(Config, frozen=True):
    """How many requests at a time: `limit`, or what the gradient of their latency allows."""

    limit: int = 0
    """A fixed number; 0: adaptive."""
    least: int = 1
    """The adaptive limit stays between failsafe-go's 1 ..."""
    most: int = 200
    """... and 200 ..."""
    initial: int = 20
    """... and begins at its 20."""
    headroom: float = 0.25
    """Latency may exceed the baseline by this share before the limit falls: Envoy's buffer."""
    window: float = 0.1
    """Seconds of samples behind one decision: Envoy's concurrency_update_interval ..."""
    samples: int = 25
    """... but never fewer samples than these: half of Envoy's minRTT window, for a median."""
    renewal: float = 60.0
    """Seconds a baseline is believed: Envoy's min_rtt interval."""

    def __post_init__(self) -> None:
        self._at_least(0, "limit", "headroom")
        self._check("least", expected="an integer >= 1", ok=self.least >= 1)
        most = f"at least least ({self.least})"
        self._check("most", expected=most, ok=self.most >= self.least)
        between = f"an integer {self.least}..{self.most}"
        self._check("initial", expected=between, ok=self.least <= self.initial <= self.most)
        self._check("samples", expected="an integer >= 1", ok=self.samples >= 1)
        self._positive("window", "renewal")


class ShedConfig(Config, frozen=True):
    """When a server turns the least urgent requests away."""

    lag: float = 0.1
    """Seconds the event loop may be late (for WSGI: a thread that asks for the processor);
    Finagle's offload admission uses 50 ms, and Python's own pauses are longer."""
    cpu: float = 0.9
    """Share of the processor quota that may be used: go-zero's 90 %."""
    interval: float = 0.1
    """Seconds between two measurements; go-zero's buckets are 100 ms too."""

    def __post_init__(self) -> None:
        self._positive("lag", "cpu", "interval")


class ServingConfig(Config, frozen=True):
    """How much a service serves.  Read by the service itself."""

    rate: RatesConfig | None = None
    """Counted by each instance for itself."""
    shared_rate: SharedRatesConfig | None = None
    """Counted by all instances together."""
    concurrency: ConcurrencyConfig | None = None
    shed: ShedConfig | None = None
    authorization: Literal["enforce", "audit"] = "enforce"
    """What becomes of a request that the intentions deny: `enforce` refuses it, `audit` only tells
    of it (Istio's AUDIT action), to see what a new rule would do."""
    mtls: Literal["strict", "permissive"] = "strict"
    """`permissive` serves plaintext besides mutual TLS, on the same port (Istio's PERMISSIVE mode):
    for a migration, and for nothing else.  Only documents may say it."""
    jwt: JwtConfig | None = None
    """Tokens of end users; None: they are left to the application."""


class BulkheadConfig(Config, frozen=True):
    """What calls to one service may take of this process: Envoy's circuit breaker thresholds.

    The counts are those of this process.  A connection of HTTP/1.1 carries one request, so
    `connections` bounds the attempts on the wire; idle connections are not counted.
    """

    connections: int = 1024
    pending: int = 1024
    """How many may wait for one of them, in their order."""
    requests: int = 1024
    """Calls that have not ended, whether they wait, pause between two tries or are on the wire."""
    retries: int = 3
    """Calls being tried again at a time."""

    def __post_init__(self) -> None:
        for field in ("connections", "requests"):
            self._check(field, expected="an integer >= 1", ok=getattr(self, field) >= 1)
        self._at_least(0, "pending", "retries")


class CircuitConfig(Config, frozen=True):
    """The circuit of one method of one service; the breaker of an endpoint is `OutlierConfig`.

    Off unless given.  Endpoints are given up on, probed and taken back one by one, within a second
    of their return.  A circuit is slower by design: with a single endpoint that is restarted it
    would go on refusing for up to `cooldown`.  It is for a dependency that is worse off with
    traffic than without, and whose callers have something better to do than to wait.
    """

    failures: float = 0.5
    """Share of failed calls that opens it: Resilience4j's 50 % ..."""
    calls: int = 20
    """... of at least so many calls: Hystrix's request volume threshold ..."""
    window: float = 10.0
    """... in so many seconds: Hystrix's rolling window."""
    slow_after: float = 60.0
    """Seconds after which a call is slow: Resilience4j ..."""
    slow: float = 1.0
    """... and the share of slow calls that opens it."""
    cooldown: float = 5.0
    """Seconds the first opening lasts: Polly's break duration ..."""
    max_cooldown: float = 60.0
    """... doubled by every opening that follows closely, up to Resilience4j's wait."""
    jitter: float = 0.5
    """Share of the cooldown added at random, so that a fleet does not come back in step."""
    probes: int = 3
    """Probes at a time once the first, which goes alone, has succeeded; so many close it."""
    lease: float = 30.0
    """Seconds after which a probe that never reported is given up."""
    state: Literal["auto", "disabled", "forced_open", "metrics_only"] = "auto"
    """Resilience4j's special states, set by hand."""

    def __post_init__(self) -> None:
        self._share("failures", "slow", "jitter")
        self._positive("failures", "slow", "window", "slow_after", "cooldown", "lease")
        self._check("calls", expected="an integer >= 1", ok=self.calls >= 1)
        self._check("probes", expected="an integer >= 1", ok=self.probes >= 1)
        longest = f"at least cooldown ({self.cooldown:g})"
        self._check("max_cooldown", expected=longest, ok=self.max_cooldown >= self.cooldown)
