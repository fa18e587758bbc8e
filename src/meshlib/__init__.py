"""A service mesh inside the Python process."""

from __future__ import annotations

from meshlib.config import (
    BackoffConfig,
    BudgetConfig,
    ConnectConfig,
    HedgeConfig,
    LocalityConfig,
    OutlierConfig,
    RetryConfig,
    SessionConfig,
    UpstreamConfig,
)
from meshlib.context import deadline, mirrored
from meshlib.errors import (
    AttemptFailed,
    CallError,
    ConfigError,
    ConnectFailed,
    ControlError,
    DeadlineExceeded,
    Denied,
    IdentityUnavailable,
    Interrupted,
    MeshError,
    NoEndpoint,
    NoRoute,
    PeerNotTrusted,
    RegistryUnavailable,
    Rejected,
)
from meshlib.mesh import Mesh
from meshlib.model import Endpoint, Identity, Locality
from meshlib.observe.events import Listener
from meshlib.observe.metrics.listener import Metrics
from meshlib.observe.quiet import Quiet

__all__ = [
    "AttemptFailed",
    "BackoffConfig",
    "BudgetConfig",
    "CallError",
    "ConfigError",
    "ConnectConfig",
    "ConnectFailed",
    "ControlError",
    "DeadlineExceeded",
    "Denied",
    "Endpoint",
    "HedgeConfig",
    "Identity",
    "IdentityUnavailable",
    "Interrupted",
    "Listener",
    "Locality",
    "LocalityConfig",
    "Mesh",
    "MeshError",
    "Metrics",
    "NoEndpoint",
    "NoRoute",
    "OutlierConfig",
    "PeerNotTrusted",
    "Quiet",
    "RegistryUnavailable",
    "Rejected",
    "RetryConfig",
    "SessionConfig",
    "UpstreamConfig",
    "deadline",
    "mirrored",
]
