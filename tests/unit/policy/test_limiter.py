"""The rate limiter, and what a refusal says."""

from __future__ import annotations

import pytest

from meshlib.config import QuotaConfig, RatesConfig, RouteQuotaConfig
from meshlib.policy.limiter import Meter, OverLimit, RateLimiter, limit_headers
from meshlib.policy.rates import Rates, Visitor
from meshlib.testing.clock import FakeClock


def visitor(caller="a", service="frontend", method="GET", path="/"):
    return Visitor(caller, service, method, path)


def test_a_burst_and_then_the_rate():
    """Five at once, then one every tenth of a second."""
    clock = FakeClock()
    limiter, meter = RateLimiter(clock), Meter("m", QuotaConfig(limit=10, burst=5))
    taken = [limiter.take([(meter, "")]) for _ in range(6)]
    assert [None] * 5 == taken[:5]
    assert pytest.approx(0.1) == taken[5].wait
    clock.advance(0.1)
    assert limiter.take([(meter, "")]) is None


def test_who_is_refused_by_one_is_counted_by_none():
    """The caller's own limit protects the total from it."""
    clock = FakeClock()
    rates = Rates(clock, RatesConfig(total=QuotaConfig(limit=3), per_caller=QuotaConfig(limit=1)))
    assert [None, "caller", "caller"] == [
        over and over.name for over in (rates.take(visitor()) for _ in range(3))
    ]
    assert [None, None, "total"] == [
        over and over.name for over in (rates.take(visitor(c)) for c in "bcd")
    ]


def test_a_callers_own_quota():
    """Named services have another one, each of their identities by itself."""
    rates = Rates(
        FakeClock(),
        RatesConfig(per_caller=QuotaConfig(limit=9), callers={"batch": QuotaConfig(limit=1)}),
    )
    assert rates.take(visitor("x", "batch")) is None
    assert "caller-batch" == rates.take(visitor("x", "batch")).name
    assert rates.take(visitor("y", "batch")) is None
    assert rates.take(visitor("z")) is None


@pytest.mark.parametrize(
    ("path", "method", "limited"),
    [
        ("/api", "POST", True),
        ("/api/items", "POST", True),
        ("/apiary", "POST", False),
        ("/api", "GET", False),
        ("/", "POST", False),
    ],
)
def test_a_route_is_whole_segments(path, method, limited):
    """A prefix ends where a segment does, and a method is that method."""
    route = RouteQuotaConfig(path="/api/", method="POST", limit=1)
    rates = Rates(FakeClock(), RatesConfig(routes=(route,)))
    rates.take(visitor(path=path, method=method))
    assert limited is (rates.take(visitor(path=path, method=method)) is not None)


def test_the_first_route_that_matches_counts():
    """The specific one stands before the general one."""
    routes = RouteQuotaConfig(path="/a/b", limit=2), RouteQuotaConfig(path="/", limit=1)
    rates = Rates(FakeClock(), RatesConfig(routes=routes))
    taken = [rates.take(visitor(path="/a/b")) for _ in range(3)]
    assert [None, None, "/a/b"] == [over and over.name for over in taken]
    assert rates.take(visitor(path="/c")) is None


def test_configuring_keeps_what_was_counted():
    """A bucket that is empty stays empty, and one that is new is full."""
    clock = FakeClock()
    rates = Rates(clock, RatesConfig(total=QuotaConfig(limit=2)))
    assert [None, None] == [rates.take(visitor()) for _ in range(2)]
    rates.configure(RatesConfig(total=QuotaConfig(limit=4), per_caller=QuotaConfig(limit=9)))
    assert [None, None, "total"] == [
        over and over.name for over in (rates.take(visitor()) for _ in range(3))
    ]


def test_a_share_of_a_quota():
    """One of four processes gets a quarter of the burst and of the rate, but at least one."""
    clock = FakeClock()
    rates = Rates(clock, RatesConfig(total=QuotaConfig(limit=8)), share=0.25)
    taken = [rates.take(visitor()) for _ in range(3)]
    assert [None, None] == taken[:2]
    assert pytest.approx(0.5) == taken[2].wait


def test_keys_beyond_the_most_share_a_bucket():
    """A key whose bucket holds something is not forgotten for a newcomer."""
    clock = FakeClock()
    meter = Meter("m", QuotaConfig(limit=1), max_keys=2)
    limiter = RateLimiter(clock)
    assert [None] * 3 == [limiter.take([(meter, key)]) for key in "abc"]
    assert limiter.take([(meter, "d")]) is not None
    assert limiter.take([(meter, "a")]) is not None
    clock.advance(1)
    assert [None] * 2 == [limiter.take([(meter, key)]) for key in "ad"]
    assert 2 == len(meter)


@pytest.mark.parametrize(
    ("quota", "wait", "headers"),
    [
        (
            QuotaConfig(limit=100),
            0.01,
            {"retry-after": "1", "ratelimit-policy": '"m";q=100;w=1', "ratelimit": '"m";r=0;t=1'},
        ),
        (
            QuotaConfig(limit=3, per=60),
            19.2,
            {"retry-after": "20", "ratelimit-policy": '"m";q=3;w=60', "ratelimit": '"m";r=0;t=20'},
        ),
        (
            QuotaConfig(limit=3, burst=10),
            1.0,
            {"retry-after": "1", "ratelimit-policy": '"m";q=12;w=4', "ratelimit": '"m";r=0;t=1'},
        ),
    ],
)
def test_what_a_429_says(quota, wait, headers):
    """Whole numbers, as the draft has them, and Retry-After is never zero."""
    assert headers == dict(limit_headers(OverLimit("m", quota, wait)))
