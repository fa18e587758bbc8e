"""
What callers wait when one of ten hosts is twenty times slower: by balancer, in simulated time.

Requests arrive at random (Poisson) from one client.  A host serves all it has at once; a reply
takes an exponentially distributed time around its mean.  Same arrivals and same service times for
every balancer, so the ratio is not a matter of luck.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from statistics import quantiles

from _common import Result, at_most, name_of, run

from meshlib.balance.picker import Pick
from meshlib.balance.upstream import Upstream
from meshlib.config import UpstreamConfig
from meshlib.model import Attempt, Bound, Call, Endpoint, Snapshot, Verdict
from meshlib.testing.clock import FakeClock

HOSTS, RATE, REQUESTS, WARM_UP = 10, 500.0, 20_000, 2_000
FAST, SLOW = 0.010, 0.200
OTHERS = ("least_request", "peak_ewma", "random", "round_robin")


def waits(balancer: str, seed: int = 7) -> list[float]:
    """Seconds each request took."""
    clock, chance = FakeClock(), random.Random(seed)
    shop = Upstream("shop", clock, random.Random(seed), UpstreamConfig(balancer=balancer))
    shop.update(Bound(Snapshot("shop", tuple(Endpoint(str(n), "h", n + 1) for n in range(HOSTS)))))
    picker, attempt, order = shop.picker(), Attempt(Call("shop")), count()
    ends: list[tuple[float, int, Pick, float]] = []
    took, now = [], clock.now
    for _ in range(REQUESTS):
        now += chance.expovariate(RATE)
        length = chance.expovariate(1.0)
        while ends and ends[0][0] <= now:
            report(heappop(ends), clock)
        clock.now = now
        pick = picker.pick(attempt) if picker else None
        if pick is None:
            raise AssertionError
        seconds = length * (SLOW if pick.endpoint.id == "0" else FAST)
        heappush(ends, (now + seconds, next(order), pick, seconds))
        took.append(seconds)
    return took[WARM_UP:]


def report(end: tuple[float, int, Pick, float], clock: FakeClock) -> None:
    """Let a reply arrive."""
    clock.now, _, pick, seconds = end
    pick.done(Verdict.SUCCESS, seconds)


def p99(took: list[float]) -> float:
    """The 99th percentile."""
    return quantiles(took, n=100)[98]


def measure() -> Iterator[Result]:
    """See the module."""
    name = name_of(__file__)
    tails = {balancer: p99(waits(balancer)) for balancer in OTHERS}
    for balancer, tail in tails.items():
        yield Result(name, f"p99, {balancer}", tail * 1e3, "ms")
    relative = tails["peak_ewma"] / tails["round_robin"]
    detail = f"one of {HOSTS} hosts {SLOW / FAST:g}x slower, {RATE:g} requests/s"
    yield at_most(name, "p99 of peak_ewma against round_robin", relative, 0.5, "x", detail)


if __name__ == "__main__":
    run(measure)
