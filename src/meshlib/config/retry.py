"""When a failed attempt is followed by another."""

from __future__ import annotations

from math import inf

from meshlib.config.base import Config


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
