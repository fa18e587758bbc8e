"""All that shapes calls to one service."""

from __future__ import annotations

from meshlib.config.base import Config
from meshlib.config.endpoints import BALANCERS, BreakerConfig, ConnectConfig
from meshlib.config.retry import RetryConfig


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
