"""
The settings of calls to a service: its traffic-policy, and what its resolver has words for.

What both say, they must say alike: which of the two is meant is not guessed.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from meshlib.config import UpstreamConfig
from meshlib.control.documents import path_of
from meshlib.control.durations import format_duration
from meshlib.control.load_balancer import LoadBalancer
from meshlib.control.resolver import ServiceResolver
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError

StructT = TypeVar("StructT", bound=msgspec.Struct)


def effective(service: str, policy: TrafficPolicy, resolver: ServiceResolver) -> UpstreamConfig:
    """The settings.  Raises ConfigError for documents that contradict each other."""
    config = policy.upstream()
    if resolver.connect_timeout:
        said = policy.connect.timeout if policy.connect else None
        _check_agree(service, said, resolver.connect_timeout, "Connect.Timeout", "ConnectTimeout")
        config = _with(config, connect=_with(config.connect, timeout=resolver.connect_timeout))
    if resolver.request_timeout:
        _check_agree(service, policy.timeout, resolver.request_timeout, "Timeout", "RequestTimeout")
        config = _with(config, timeout=resolver.request_timeout)
    if resolver.load_balancer:
        _check_balancer(service, policy, config, resolver.load_balancer)
        config = resolver.load_balancer.applied(config)
    return config


def _check_agree(service: str, ours: float | None, theirs: float, here: str, there: str) -> None:
    if ours is not None and ours != theirs:
        path = f"{path_of('traffic-policy', service)}.{here}"
        same = f"{format_duration(theirs)!r}, as {path_of('service-resolver', service)}.{there}"
        raise ConfigError(path, format_duration(ours), f"{same} says", hint="keep one of the two")


def _check_balancer(
    service: str, policy: TrafficPolicy, config: UpstreamConfig, theirs: LoadBalancer
) -> None:
    hashing = policy.hashing
    given = {
        "Balancer": policy.balancer,
        "Hashing.Keys": hashing and hashing.keys and config.hashing.keys,
        "Hashing.MinRing": hashing and hashing.min_ring,
        "Hashing.MaxRing": hashing and hashing.max_ring,
    }
    for field, value in theirs.said().items():
        if given[field] is not None and given[field] != value:
            path = f"{path_of('traffic-policy', service)}.{field}"
            same = f"as {path_of('service-resolver', service)}.LoadBalancer says"
            raise ConfigError(path, given[field], f"{value!r}, {same}", hint="keep one of the two")


def _with(struct: StructT, **changes: Any) -> StructT:
    """A changed copy; times are plain floats, so that plans compare by value."""
    plain = {k: float(v) if isinstance(v, float) else v for k, v in changes.items()}
    return msgspec.structs.replace(struct, **plain)
