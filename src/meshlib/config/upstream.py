"""All that shapes calls to one service."""

from __future__ import annotations

from meshlib.config.balance import (
    BALANCERS,
    HashConfig,
    PeakEwmaConfig,
    SlowStartConfig,
    check_hashing,
)
from meshlib.config.base import Config
from meshlib.config.endpoints import ConnectConfig, LocalityConfig, OutlierConfig, SessionConfig
from meshlib.config.limits import BulkheadConfig, CircuitConfig, ConcurrencyConfig, QuotaConfig
from meshlib.config.retry import HedgeConfig, RetryConfig


class UpstreamConfig(Config, frozen=True):
    """All that shapes calls to one service."""

    timeout: float = 15.0
    """Seconds a call may take, all attempts together: Envoy's route timeout."""
    balancer: str = "peak_ewma"
    """One of `BALANCERS`; Linkerd's and Finagle's choice for requests."""
    peak_ewma: PeakEwmaConfig = PeakEwmaConfig()
    slow_start: SlowStartConfig = SlowStartConfig()
    hashing: HashConfig = HashConfig()
    retry: RetryConfig = RetryConfig()
    hedge: HedgeConfig = HedgeConfig()
    outlier: OutlierConfig = OutlierConfig()
    locality: LocalityConfig = LocalityConfig()
    session: SessionConfig | None = None
    """What makes a caller come back to the same endpoint, if anything does."""
    connect: ConnectConfig = ConnectConfig()
    rate: QuotaConfig | None = None
    """How many calls this process may make."""
    concurrency: ConcurrencyConfig | None = None
    """How many calls this process may have in flight."""
    bulkhead: BulkheadConfig | None = None
    circuit: CircuitConfig | None = None

    def __post_init__(self) -> None:
        self._positive("timeout")
        choices = f"one of {', '.join(BALANCERS)}"
        self._check("balancer", expected=choices, ok=self.balancer in BALANCERS)
        check_hashing(self.balancer, self.hashing)
