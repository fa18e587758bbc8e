"""A service mesh inside the Python process."""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
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

_HOMES = {
    "BackoffConfig": "meshlib.config",
    "BudgetConfig": "meshlib.config",
    "ConnectConfig": "meshlib.config",
    "HedgeConfig": "meshlib.config",
    "LocalityConfig": "meshlib.config",
    "OutlierConfig": "meshlib.config",
    "RetryConfig": "meshlib.config",
    "SessionConfig": "meshlib.config",
    "UpstreamConfig": "meshlib.config",
    "deadline": "meshlib.context",
    "mirrored": "meshlib.context",
    "AttemptFailed": "meshlib.errors",
    "CallError": "meshlib.errors",
    "ConfigError": "meshlib.errors",
    "ConnectFailed": "meshlib.errors",
    "ControlError": "meshlib.errors",
    "DeadlineExceeded": "meshlib.errors",
    "Denied": "meshlib.errors",
    "IdentityUnavailable": "meshlib.errors",
    "Interrupted": "meshlib.errors",
    "MeshError": "meshlib.errors",
    "NoEndpoint": "meshlib.errors",
    "NoRoute": "meshlib.errors",
    "PeerNotTrusted": "meshlib.errors",
    "RegistryUnavailable": "meshlib.errors",
    "Rejected": "meshlib.errors",
    "Mesh": "meshlib.mesh",
    "Endpoint": "meshlib.model",
    "Identity": "meshlib.model",
    "Locality": "meshlib.model",
    "Listener": "meshlib.observe.events",
    "Metrics": "meshlib.observe.metrics.listener",
    "Quiet": "meshlib.observe.quiet",
}
"""Where each name lives.

They are loaded on first use (PEP 562): a program under `meshlib run` that calls nobody should not
wait for what it does not need."""


def __getattr__(name: str) -> typing.Any:
    home = _HOMES.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
