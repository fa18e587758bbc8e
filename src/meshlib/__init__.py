"""A service mesh inside the Python process."""

from __future__ import annotations

from meshlib.config import (
    BackoffConfig,
    BreakerConfig,
    BudgetConfig,
    ConnectConfig,
    RetryConfig,
    UpstreamConfig,
)
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

__all__ = [
    "AttemptFailed",
    "BackoffConfig",
    "BreakerConfig",
    "BudgetConfig",
    "CallError",
    "ConfigError",
    "ConnectConfig",
    "ConnectFailed",
    "ControlError",
    "DeadlineExceeded",
    "Denied",
    "Endpoint",
    "Identity",
    "IdentityUnavailable",
    "Interrupted",
    "Locality",
    "Mesh",
    "MeshError",
    "NoEndpoint",
    "NoRoute",
    "PeerNotTrusted",
    "RegistryUnavailable",
    "Rejected",
    "RetryConfig",
    "UpstreamConfig",
]
