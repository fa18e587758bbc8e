from __future__ import annotations

from math import inf, nan

import pytest

from meshlib.config import (
    HashConfig,
    HashKeyConfig,
    PeakEwmaConfig,
    SlowStartConfig,
    UpstreamConfig,
    parse,
)
from meshlib.control.decoding import read
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        (PeakEwmaConfig, {"decay": 0.0}, "decay"),
        (PeakEwmaConfig, {"seed": nan}, "seed"),
        (PeakEwmaConfig, {"forced": -1.0}, "forced"),
        (PeakEwmaConfig, {"penalty": -1.0}, "penalty"),
        (PeakEwmaConfig, {"penalty": inf}, "penalty"),
        (PeakEwmaConfig, {"max_penalty": 4.0}, "max_penalty"),
        (SlowStartConfig, {"window": -1.0}, "window"),
        (SlowStartConfig, {"min_share": 1.1}, "min_share"),
        (SlowStartConfig, {"min_share": nan}, "min_share"),
        (SlowStartConfig, {"aggression": 0.0}, "aggression"),
        (HashConfig, {"min_ring": 0}, "min_ring"),
        (HashConfig, {"max_ring": 1023}, "max_ring"),
        (HashConfig, {"max_ring": 8388609}, "max_ring"),
        (HashConfig, {"table": 65536}, "table"),
        (HashConfig, {"table": 1}, "table"),
        (HashConfig, {"balance_factor": 99}, "balance_factor"),
        (HashConfig, {"balance_factor": -1}, "balance_factor"),
        (HashKeyConfig, {"header": "not a token"}, "header"),
        (HashKeyConfig, {"cookie": "a;b"}, "cookie"),
        (HashKeyConfig, {"cookie": "a", "ttl": -1.0}, "ttl"),
        (HashKeyConfig, {"header": "a", "ttl": 1.0}, "ttl"),
        (HashKeyConfig, {"cookie": "a", "path": "no/slash"}, "path"),
        (HashKeyConfig, {"cookie": "a", "path": "/x; Domain=evil"}, "path"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(kind, fields, path):
    """Every bound is checked when the settings are made, with the bad value in the error."""
    with pytest.raises(ConfigError) as refused:
        kind(**fields)
    assert path == refused.value.path
    assert repr(fields[path]) == repr(refused.value.value)


@pytest.mark.parametrize(
    "fields", [{}, {"header": "a", "cookie": "b"}, {"query": "a", "source": 1}]
)
def test_a_key_stands_in_one_place(fields):
    """None and two are refused."""
    with pytest.raises(ConfigError, match="exactly one of header, cookie, query and source"):
        HashKeyConfig(**fields)


@pytest.mark.parametrize("balancer", ["ring_hash", "maglev"])
def test_hash_key_missing(balancer):
    """A hashing balancer without a key is refused when it is configured, not when it is used."""
    with pytest.raises(ConfigError, match=r"u\.hashing\.keys: \[\].*\n.*at least one key"):
        parse(UpstreamConfig, {"balancer": balancer}, path="u")
    keys = [{"header": "x-user"}]
    parse(UpstreamConfig, {"balancer": balancer, "hashing": {"keys": keys}}, path="u")


def test_xxhash_missing(monkeypatch):
    """Without the package the balancer is refused, with the command that helps."""
    monkeypatch.setattr("meshlib.config.balance.find_spec", lambda name: None)
    hashing = HashConfig(keys=(HashKeyConfig(source=True),))
    with pytest.raises(ConfigError, match=r"pip install 'meshlib\[hash\]'"):
        UpstreamConfig(balancer="maglev", hashing=hashing)
    UpstreamConfig(balancer="peak_ewma", hashing=hashing)


def policy(**fields):
    return read(TrafficPolicy, {"Kind": "traffic-policy", "Name": "shop", **fields}, path="shop")


def test_a_document_says_it_all():
    """Each setting has its name in documents."""
    document = policy(
        Balancer="ring_hash",
        PeakEwma={"Decay": "20s", "Seed": "1ms", "Penalty": "1s", "MaxPenalty": "1m"},
        SlowStart={"Window": "30s", "MinShare": 0.2, "Aggression": 2.0},
        Hashing={
            "Keys": [
                {"Cookie": "who", "Ttl": "1h", "Path": "/", "Terminal": True},
                {"Query": "user"},
                {"Source": True},
            ],
            "MinRing": 2048,
            "MaxRing": 4096,
            "BalanceFactor": 150,
        },
    )
    expected = UpstreamConfig(
        balancer="ring_hash",
        peak_ewma=PeakEwmaConfig(decay=20.0, seed=0.001, penalty=1.0, max_penalty=60.0),
        slow_start=SlowStartConfig(window=30.0, min_share=0.2, aggression=2.0),
        hashing=HashConfig(
            keys=(
                HashKeyConfig(cookie="who", ttl=3600.0, path="/", terminal=True),
                HashKeyConfig(query="user"),
                HashKeyConfig(source=True),
            ),
            min_ring=2048,
            max_ring=4096,
            balance_factor=150,
        ),
    )
    assert expected == document.upstream()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"Balancer": "maglev"}, "Hashing.Keys"),
        ({"Hashing": {"BalanceFactor": 50}}, "Hashing.BalanceFactor"),
        ({"Hashing": {"Keys": [{"Query": "a"}, {"Header": "a b"}]}}, "Hashing.Keys[1].Header"),
        ({"Hashing": {"Keys": [{"Terminal": True}]}}, "Hashing.Keys[0]"),
        ({"SlowStart": {"MinShare": 2}}, "SlowStart.MinShare"),
        ({"PeakEwma": {"Decay": "0s"}}, "PeakEwma.Decay"),
        ({"PeakEwma": {"Decay": "soon"}}, "PeakEwma.Decay"),
    ],
)
def test_a_document_is_refused_with_the_path(fields, path):
    """What is wrong in a document is found by its path in the document."""
    with pytest.raises(ConfigError) as refused:
        policy(**fields)
    assert f"shop.{path}" == refused.value.path
