"""What a pick costs, what a snapshot costs, and what an endpoint costs, for each balancer."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from statistics import median

from _common import Result, at_most, interleaved, name_of, ratio, run, spread

from meshlib.balance.upstream import Upstream
from meshlib.config import BALANCERS, HashConfig, HashKeyConfig, UpstreamConfig
from meshlib.model import Attempt, Bound, Call, Endpoint, Snapshot, Verdict
from meshlib.runtime import real_clock

FEW, MANY = 3, 10_000
PICKS = 2_000
ROUNDS = 15
UPDATES = 5
KEYS = 64
HASHING = HashConfig(keys=(HashKeyConfig(header="x-user"),))
ATTEMPTS = [Attempt(Call("shop", headers={"x-user": f"user-{n}"})) for n in range(KEYS)]


def snapshot(count: int, weights: int = 1, changed: str = "") -> Bound:
    """So many endpoints, of so many different weights; one of them can be another one."""
    return Bound(
        Snapshot(
            "shop",
            tuple(
                Endpoint(f"i-{n}{changed if n == 0 else ''}", "10.0.0.1", n + 1, 1 + n % weights)
                for n in range(count)
            ),
        )
    )


def upstream(balancer: str, members: Bound | None = None) -> Upstream:
    """An upstream of real parts."""
    config = UpstreamConfig(balancer=balancer, hashing=HASHING)
    made = Upstream("shop", real_clock, random.Random(), config)
    if members is not None:
        made.update(members)
    return made


def picks(shop: Upstream) -> float:
    """CPU seconds of one pick that is reported at once."""
    picker = shop.picker()
    if picker is None:
        raise AssertionError
    started = time.process_time()
    for n in range(PICKS):
        pick = picker.pick(ATTEMPTS[n % KEYS])
        if pick is not None:
            pick.done(Verdict.SUCCESS, 0.01)
    return (time.process_time() - started) / PICKS


def of_picks(balancer: str, weights: int) -> Iterator[Result]:
    """What a pick costs, and whether that grows."""
    name, kind = name_of(__file__), f"{balancer}, {weights} weight{'s' * (weights > 1)}"
    few, many = (upstream(balancer, snapshot(count, weights)) for count in (FEW, MANY))
    costs = interleaved({"few": lambda: picks(few), "many": lambda: picks(many)}, rounds=ROUNDS)
    for case, count in (("few", FEW), ("many", MANY)):
        value = median(costs[case]) * 1e6
        yield at_most(name, f"pick and done, {count:,} endpoints: {kind}", value, 3, "us")
    growth, detail = ratio(costs["many"], costs["few"]), spread(costs["many"], costs["few"])
    yield at_most(name, f"{MANY:,} endpoints against {FEW}: {kind}", growth, 1.3, "x", detail)


def of_updates(balancer: str, weights: int) -> Iterator[Result]:
    """What a snapshot costs in which one endpoint is another one."""
    shop, seconds = upstream(balancer), []
    for n in range(1 + UPDATES):
        members = snapshot(MANY, weights, changed=f"-{n}")
        started = time.process_time()
        shop.update(members)
        seconds.append(time.process_time() - started)
    kind = f"{balancer}, {weights} weight{'s' * (weights > 1)}"
    detail = f"the first: {seconds[0] * 1e3:.0f} ms"
    value = median(seconds[1:]) * 1e3
    yield at_most(name_of(__file__), f"update of {MANY:,}: {kind}", value, 50, "ms", detail)


def of_memory(balancer: str) -> Result:
    """What an endpoint costs beside the snapshot, which is discovery's."""
    members = snapshot(MANY)
    gc.collect()
    tracemalloc.start()
    shop = upstream(balancer, members)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] / MANY / 1024
    tracemalloc.stop()
    del shop
    return at_most(name_of(__file__), f"memory of an endpoint: {balancer}", used, 1.5, "KiB")


def of_waiting() -> Result:
    """The longest that a pick took while snapshots came in without a pause.

    A lock held for a whole update would show as tens of milliseconds; what remains are the turns
    that the interpreter gives to the other thread.
    """
    shop = upstream("peak_ewma", snapshot(MANY))
    done, longest = threading.Event(), 0.0

    def write() -> None:
        for n in range(UPDATES):
            shop.update(snapshot(MANY, changed=f"-{n}"))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        started = time.perf_counter()
        picker = shop.picker()
        pick = picker.pick(ATTEMPTS[0]) if picker else None
        if pick is not None:
            pick.done(Verdict.SUCCESS, 0.01)
        longest = max(longest, time.perf_counter() - started)
    writer.join()
    detail = f"switch interval {sys.getswitchinterval() * 1e3:g} ms"
    case = "longest pick while snapshots come in"
    return at_most(name_of(__file__), case, longest * 1e3, 50, "ms", detail)


def measure() -> Iterator[Result]:
    """See the module."""
    for balancer in BALANCERS:
        yield from of_picks(balancer, 1)
    yield from of_picks("peak_ewma", 10)
    yield from of_picks("round_robin", 10)
    for balancer in BALANCERS:
        for weights in (1, 10):
            yield from of_updates(balancer, weights)
    for balancer in BALANCERS:
        yield of_memory(balancer)
    yield of_waiting()


if __name__ == "__main__":
    run(measure)
