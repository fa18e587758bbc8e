from __future__ import annotations

from math import inf, nan

import pytest

from meshlib.config import (
    BackoffConfig,
    BudgetConfig,
    ConnectConfig,
    LocalityConfig,
    OutlierConfig,
    RetryConfig,
    UpstreamConfig,
    parse,
)
from meshlib.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        (BackoffConfig, {"base": -0.1}, "base"),
        (BackoffConfig, {"base": inf}, "base"),
        (BackoffConfig, {"base": 1.0, "cap": 0.5}, "cap"),
        (BackoffConfig, {"cap": nan}, "cap"),
        (BudgetConfig, {"share": -1}, "share"),
        (BudgetConfig, {"floor": nan}, "floor"),
        (BudgetConfig, {"window": 0}, "window"),
        (RetryConfig, {"attempts": 0}, "attempts"),
        (RetryConfig, {"attempts": 11}, "attempts"),
        (RetryConfig, {"per_try_timeout": 0}, "per_try_timeout"),
        (RetryConfig, {"per_try_timeout": nan}, "per_try_timeout"),
        (OutlierConfig, {"failures": 0}, "failures"),
        (OutlierConfig, {"cooldown": 0}, "cooldown"),
        (OutlierConfig, {"cooldown": 5.0, "max_cooldown": 4.0}, "max_cooldown"),
        (OutlierConfig, {"jitter": 1.1}, "jitter"),
        (OutlierConfig, {"jitter": nan}, "jitter"),
        (OutlierConfig, {"lease": inf}, "lease"),
        (OutlierConfig, {"connect_failures": 0}, "connect_failures"),
        (OutlierConfig, {"requests": 0}, "requests"),
        (OutlierConfig, {"success_rate": 80}, "success_rate"),
        (OutlierConfig, {"success_rate": nan}, "success_rate"),
        (OutlierConfig, {"window": 0}, "window"),
        (OutlierConfig, {"max_ejected": 1.5}, "max_ejected"),
        (OutlierConfig, {"min_endpoints": 0}, "min_endpoints"),
        (OutlierConfig, {"bias": -0.1}, "bias"),
        (OutlierConfig, {"panic": 50}, "panic"),
        (OutlierConfig, {"stall": 2}, "stall"),
        (OutlierConfig, {"poison": nan}, "poison"),
        (LocalityConfig, {"mode": "near"}, "mode"),
        (LocalityConfig, {"overprovisioning": 0.9}, "overprovisioning"),
        (LocalityConfig, {"min_endpoints": 0}, "min_endpoints"),
        (ConnectConfig, {"timeout": 0}, "timeout"),
        (ConnectConfig, {"idle": -1}, "idle"),
        (UpstreamConfig, {"timeout": -1}, "timeout"),
        (UpstreamConfig, {"balancer": "best"}, "balancer"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(kind, fields, path):
    """Every bound is checked when the settings are made, with the bad value in the error."""
    with pytest.raises(ConfigError) as refused:
        kind(**fields)
    assert path == refused.value.path
    assert repr(fields[path]) == repr(refused.value.value)


@pytest.mark.parametrize(
    ("value", "path", "bad"),
    [
        ({"timeout": -1.0}, "upstream.timeout", -1.0),
        ({"timeout": "1"}, "upstream.timeout", "1"),
        ({"retry": {"attempts": 99}}, "upstream.retry.attempts", 99),
        ({"retry": {"attempts": 1.5}}, "upstream.retry.attempts", 1.5),
        ({"retry": {"backoff": {"base": -1}}}, "upstream.retry.backoff.base", -1.0),
        ({"retry": {"atempts": 2}}, "upstream.retry.atempts", 2),
        ({"retries": 3}, "upstream.retries", 3),
        ({"retry": 3}, "upstream.retry", 3),
    ],
)
def test_plain_data_is_refused_with_its_full_path(value, path, bad):
    """What surrounds the field is part of the path."""
    with pytest.raises(ConfigError) as refused:
        parse(UpstreamConfig, value, path="upstream")
    assert (path, bad) == (refused.value.path, refused.value.value)


def test_what_is_not_said_keeps_its_default():
    """A partial setting changes what it names and nothing else."""
    parsed = parse(UpstreamConfig, {"retry": {"attempts": 2}}, path="upstream")
    assert UpstreamConfig(retry=RetryConfig(attempts=2)) == parsed
    assert UpstreamConfig() == parse(UpstreamConfig, {}, path="upstream")


def test_settings_are_values():
    """They compare, serve as keys, and do not change."""
    assert 1 == len({UpstreamConfig(), UpstreamConfig(timeout=15.0)})
    with pytest.raises(AttributeError):
        UpstreamConfig().timeout = 1.0
