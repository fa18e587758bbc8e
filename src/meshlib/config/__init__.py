"""
The policies' settings.

Every default stands here and nowhere else, with its precedent beside it.  Seconds are floats,
shares are fractions 0..1.
"""

from __future__ import annotations

from meshlib.config.base import Config, parse
from meshlib.config.endpoints import BALANCERS, BreakerConfig, ConnectConfig
from meshlib.config.retry import BackoffConfig, BudgetConfig, RetryConfig
from meshlib.config.upstream import UpstreamConfig

__all__ = [
    "BALANCERS",
    "BackoffConfig",
    "BreakerConfig",
    "BudgetConfig",
    "Config",
    "ConnectConfig",
    "RetryConfig",
    "UpstreamConfig",
    "parse",
]
