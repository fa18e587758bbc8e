"""
The policies' settings.

Every default stands here and nowhere else, with its precedent beside it.  Seconds are floats,
shares are fractions 0..1.
"""

from __future__ import annotations

from meshlib.config.balance import (
    BALANCERS,
    HashConfig,
    HashKeyConfig,
    PeakEwmaConfig,
    SlowStartConfig,
)
from meshlib.config.base import Config, parse
from meshlib.config.endpoints import (
    ConnectConfig,
    LocalityConfig,
    OutlierConfig,
    SessionConfig,
)
from meshlib.config.limits import (
    BulkheadConfig,
    CircuitConfig,
    ConcurrencyConfig,
    QuotaConfig,
    RatesConfig,
    RouteQuotaConfig,
    ServingConfig,
    SharedRatesConfig,
    ShedConfig,
)
from meshlib.config.retry import BackoffConfig, BudgetConfig, HedgeConfig, RetryConfig
from meshlib.config.tokens import JwtConfig, JwtProviderConfig
from meshlib.config.upstream import UpstreamConfig

__all__ = [
    "BALANCERS",
    "BackoffConfig",
    "BudgetConfig",
    "BulkheadConfig",
    "CircuitConfig",
    "ConcurrencyConfig",
    "Config",
    "ConnectConfig",
    "HashConfig",
    "HashKeyConfig",
    "HedgeConfig",
    "JwtConfig",
    "JwtProviderConfig",
    "LocalityConfig",
    "OutlierConfig",
    "PeakEwmaConfig",
    "QuotaConfig",
    "RatesConfig",
    "RetryConfig",
    "RouteQuotaConfig",
    "ServingConfig",
    "SessionConfig",
    "SharedRatesConfig",
    "ShedConfig",
    "SlowStartConfig",
    "UpstreamConfig",
    "parse",
]
