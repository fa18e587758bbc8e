"""The parts of a traffic-policy about limits."""

from __future__ import annotations

import msgspec
import pytest

from meshlib.config import (
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
from meshlib.control import limit_policies
from meshlib.control.compile import compile_plan
from meshlib.control.registry import Document
from meshlib.errors import ConfigError


def plan(**fields):
    return compile_plan("shop", (Document("traffic-policy", "shop", fields),))


def names(kind):
    return {field.name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    "config",
    [
        BulkheadConfig,
        CircuitConfig,
        ConcurrencyConfig,
        QuotaConfig,
        RatesConfig,
        RouteQuotaConfig,
        ServingConfig,
        SharedRatesConfig,
        ShedConfig,
    ],
)
def test_the_document_has_the_fields_of_the_configuration(config):
    """One to one: a setting that is added to the one must be added to the other."""
    policy = getattr(limit_policies, config.__name__.replace("Config", "Policy"))
    assert names(config) == names(policy)


def test_what_is_not_said_is_off():
    """A policy without limits limits nothing."""
    quiet = plan(Timeout="2s")
    assert ServingConfig() == quiet.serving
    config = quiet.config
    assert (None,) * 4 == (config.rate, config.concurrency, config.bulkhead, config.circuit)


def test_what_is_said_has_its_defaults():
    """An empty part is switched on, with every default."""
    config = plan(Concurrency={}, Bulkhead={}, Circuit={}).config
    assert ConcurrencyConfig() == config.concurrency
    assert BulkheadConfig() == config.bulkhead
    assert CircuitConfig() == config.circuit


def test_every_setting_of_calls_arrives():
    """Durations become seconds, names keep their meaning."""
    config = plan(
        Rate={"Limit": 5, "Per": "1m", "Burst": 2},
        Concurrency={"Least": 2, "Most": 9, "Initial": 4, "Window": "1s"},
        Bulkhead={"Connections": 1, "Pending": 2, "Requests": 3, "Retries": 4},
        Circuit={"SlowAfter": "2s", "Slow": 0.7, "State": "metrics_only"},
    ).config
    assert QuotaConfig(limit=5, per=60.0, burst=2) == config.rate
    assert ConcurrencyConfig(least=2, most=9, initial=4, window=1.0) == config.concurrency
    assert BulkheadConfig(connections=1, pending=2, requests=3, retries=4) == config.bulkhead
    assert CircuitConfig(slow_after=2.0, slow=0.7, state="metrics_only") == config.circuit


def test_every_setting_of_serving_arrives():
    """Quotas in lists and by name as well."""
    serving = plan(
        Serving={
            "Rate": {
                "Total": {"Limit": 100},
                "PerCaller": {"Limit": 10},
                "Callers": {"batch": {"Limit": 1, "Per": "2s"}},
                "Routes": [{"Path": "/api", "Method": "POST", "Limit": 3}],
                "MaxKeys": 7,
            },
            "SharedRate": {
                "Url": "redis://127.0.0.1:1/0",
                "Total": {"Limit": 9},
                "Timeout": "50ms",
                "OnFailure": "deny",
            },
            "Concurrency": {"Limit": 8},
            "Shed": {"Lag": "200ms", "Cpu": 0.8},
        }
    ).serving
    assert serving == ServingConfig(
        rate=RatesConfig(
            total=QuotaConfig(limit=100),
            per_caller=QuotaConfig(limit=10),
            callers={"batch": QuotaConfig(limit=1, per=2.0)},
            routes=(RouteQuotaConfig(path="/api", method="POST", limit=3),),
            max_keys=7,
        ),
        shared_rate=SharedRatesConfig(
            url="redis://127.0.0.1:1/0",
            total=QuotaConfig(limit=9),
            timeout=0.05,
            on_failure="deny",
        ),
        concurrency=ConcurrencyConfig(limit=8),
        shed=ShedConfig(lag=0.2, cpu=0.8),
    )


@pytest.mark.parametrize(
    ("fields", "path", "right"),
    [
        ({"Rate": {}}, "Rate.Limit", "must be given"),
        ({"Rate": {"Limit": 0}}, "Rate.Limit", "> 0"),
        ({"Rate": {"Limit": 1, "Per": "0s"}}, "Rate.Per", "> 0"),
        ({"Rate": {"Limit": 1, "Burst": -1}}, "Rate.Burst", ">= 0"),
        ({"Concurrency": {"Most": 0}}, "Concurrency.Most", "at least least (1)"),
        ({"Concurrency": {"Initial": 500}}, "Concurrency.Initial", "1..200"),
        ({"Bulkhead": {"Connections": 0}}, "Bulkhead.Connections", ">= 1"),
        ({"Circuit": {"Failures": 1.5}}, "Circuit.Failures", "0..1"),
        ({"Circuit": {"MaxCooldown": "1s"}}, "Circuit.MaxCooldown", "at least cooldown (5)"),
        ({"Circuit": {"State": "ajar"}}, "Circuit.State", "forced_open"),
        ({"Serving": {"Shed": {"Cpu": 0}}}, "Serving.Shed.Cpu", "> 0"),
        ({"Serving": {"SharedRate": {"Url": "http://x"}}}, "Serving.SharedRate.Url", "Redis URL"),
        ({"Serving": {"SharedRate": {"OnFailure": "?"}}}, "Serving.SharedRate.OnFailure", "rescue"),
        (
            {
                "Serving": {
                    "Rate": {"Routes": [{"Path": "/", "Limit": 1}, {"Path": "x", "Limit": 1}]}
                }
            },
            "Serving.Rate.Routes[1].Path",
            "/api",
        ),
        (
            {"Serving": {"Rate": {"Routes": [{"Path": "/", "Method": "get", "Limit": 1}]}}},
            "Serving.Rate.Routes[0].Method",
            "upper case",
        ),
    ],
)
def test_bad_input_is_named_with_its_path(fields, path, right):
    """Where it stands in the document, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        plan(**fields)
    assert f"traffic-policy/shop.{path}" == caught.value.path
    assert right in caught.value.why
