"""When a failed attempt is followed by another, and when two run side by side."""

from __future__ import annotations

import re
from math import inf

from meshlib.config.base import Config
from meshlib.errors import ConfigError
from meshlib.model import IDEMPOTENT_METHODS

CONDITIONS = (
    "connect-failure",
    "refused-stream",
    "reset",
    "gateway-error",
    "5xx",
    "retriable-4xx",
    "rate-limited",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
"""What `on` may name: Envoy's words for `x-envoy-retry-on` and, from `cancelled` on, for
`x-envoy-retry-grpc-on`.  What each means stands in `policy.conditions`."""

LARGEST_CREDIT = 100
"""What nobody may ask for more than, by setting or by header."""

_STATUSES = re.compile(r"(?P<first>[1-5][0-9][0-9])(?:-(?P<last>[1-5][0-9][0-9]))?")


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
    """How many retries and hedges a stream of calls may cause."""

    share: float = 0.2
    """Linkerd, Finagle and GEP-3388: 20 % of the calls ..."""
    floor: float = 10.0
    """... or 10 a second where that is more, so that quiet services may retry too (GEP-3388's
    minRetryRate, Envoy's min_retry_concurrency) ..."""
    window: float = 10.0
    """... counted over 10 s."""

    def __post_init__(self) -> None:
        self._at_least(0, "share", "floor")
        self._positive("window")


class RetryConfig(Config, frozen=True):
    """When a failed attempt is followed by another."""

    attempts: int = 3
    """Tries in all: Istio's default of two retries."""
    on: tuple[str, ...] = ("connect-failure", "refused-stream", "reset", "gateway-error")
    """The failures that are followed by another try, of `CONDITIONS`: what Istio retries, and what
    of Envoy's `reset` and `gateway-error` an idempotent request may meet without harm."""
    statuses: tuple[int | str, ...] = ()
    """Further statuses, one by one (409) or as ranges ("520-526"): Envoy's
    retriable-status-codes, Linkerd's retry.linkerd.io/http."""
    methods: tuple[str, ...] = ()
    """Repeat only these; empty: every method that may be repeated."""
    non_idempotent: bool = False
    """Consent to repeat a POST or PATCH that the peer may have carried out: one that broke after it
    was sent, or was answered with a status named here.  Without it only GET, PUT and their like are
    repeated, and whatever carries an Idempotency-Key."""
    per_try_timeout: float = inf
    """Seconds one attempt may take; never more than the deadline leaves."""
    adaptive_timeout: bool = False
    """Whether an attempt that another may follow is given up after twice the 99th percentile of
    recent ones; see `policy.adaptive`."""
    other_locality: bool = False
    """Whether a retry leaves the zones it has tried, if anybody elsewhere is well: Istio's
    retryRemoteLocalities."""
    max_retry_after: float = 300.0
    """Seconds a peer may ask to be left alone; who asks for more is not asked again (Linkerd)."""
    credit: int = 4
    """Extra attempts that may reach a server in the whole tree of calls below one request that
    enters the mesh: gRPC A6 lets no call make more than five attempts, this lets no request."""
    backoff: BackoffConfig = BackoffConfig()
    budget: BudgetConfig = BudgetConfig()

    def __post_init__(self) -> None:
        self._check("attempts", expected="an integer 1..10", ok=1 <= self.attempts <= 10)
        self._check("per_try_timeout", expected="a number > 0", ok=self.per_try_timeout > 0)
        self._at_least(0, "max_retry_after")
        fine = 0 <= self.credit <= LARGEST_CREDIT
        self._check("credit", expected=f"an integer 0..{LARGEST_CREDIT}", ok=fine)
        for number, name in enumerate(self.on):
            if name not in CONDITIONS:
                raise ConfigError(f"on[{number}]", name, f"one of {', '.join(CONDITIONS)}")
        for number, method in enumerate(self.methods):
            self._check_method(number, method)
        self.status_ranges()

    def _check_method(self, number: int, method: str) -> None:
        if not (method.isascii() and method.isalpha() and method.isupper()):
            raise ConfigError(f"methods[{number}]", method, "a method in capital letters")
        if method not in IDEMPOTENT_METHODS and not self.non_idempotent:
            raise ConfigError(
                f"methods[{number}]",
                method,
                f"one of {', '.join(sorted(IDEMPOTENT_METHODS))}",
                hint="consent to repeat what may have been carried out: non_idempotent = true",
            )

    def status_ranges(self) -> tuple[range, ...]:
        """`statuses`, read.  Raises ConfigError."""
        return tuple(_range(number, value) for number, value in enumerate(self.statuses))


class HedgeConfig(Config, frozen=True):
    """When a slow attempt gets company: "The Tail at Scale" (Dean and Barroso, 2013).

    Asynchronous clients hedge, and gRPC channels: other synchronous ones have but their caller's
    thread.
    """

    enabled: bool = False
    """Off unless somebody says so, as everywhere: a hedge is load."""
    quantile: float = 0.95
    """Of recent latencies: an attempt slower than that gets one beside it (the paper's choice)."""
    least: float = 0.001
    """Seconds it waits at least: Finagle's BackupRequestFilter."""
    share: float = 0.02
    """Hedges a call, at most: 1 to 5 % are Finagle's advice; they spend the retries' budget too."""

    def __post_init__(self) -> None:
        fine = 0.5 <= self.quantile < 1
        self._check("quantile", expected="a fraction from 0.5 to below 1", ok=fine)
        self._positive("least")
        self._check("share", expected="a fraction above 0 to 0.05", ok=0 < self.share <= 0.05)


def _range(number: int, value: int | str) -> range:
    """A status or a range of them; a status below 200 or in 2xx is no failure to repeat."""
    path = f"statuses[{number}]"
    match = _STATUSES.fullmatch(str(value))
    if match is None:
        raise ConfigError(path, value, 'a status such as 409, or a range such as "520-526"')
    first = int(match["first"])
    last = int(match["last"] or first)
    if not 300 <= first <= last:
        raise ConfigError(path, value, "statuses from 300 to 599, the lower one first")
    return range(first, last + 1)
