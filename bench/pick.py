"""
What a pick costs, what a snapshot costs, and what an endpoint costs, for each balancer.

Whether a pick grows with the set is asked twice: against three endpoints, which never leave the
processor's first-level cache, and against as many endpoints in sets of three, which walk through
the same memory, so that the size of the sets is compared and not that of a cache.
"""

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
from meshlib.config.balance import HASHING as HASHING_BALANCERS
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


def picks(*shops: Upstream) -> float:
    """CPU seconds of one pick that is reported at once, from one upstream after the other."""
    pickers = [picker for shop in shops if (picker := shop.picker())]
    started = time.process_time()
    for n in range(PICKS):
        pick = pickers[n % len(pickers)].pick(ATTEMPTS[n % KEYS])
        if pick is not None:
            pick.done(Verdict.SUCCESS, 0.01)
    return (time.process_time() - started) / PICKS


def small_sets(balancer: str, weights: int) -> list[Upstream]:
    """As many endpoints in small sets, in no order.

    One set will do for hashing: a bench of so many keys meets so many endpoints, however many there
    are, and a table for each small set would need more memory than all else.
    """
    count = 1 if balancer in HASHING_BALANCERS else MANY // FEW
    sets = [upstream(balancer, snapshot(FEW, weights)) for _ in range(count)]
    random.shuffle(sets)
    return sets


def of_picks(balancer: str, weights: int) -> Iterator[Result]:
    """What a pick costs, in a small set and in a large one, and whether that grows."""
    name, kind = name_of(__file__), f"{balancer}, {weights} weight{'s' * (weights > 1)}"
    few, many = (upstream(balancer, snapshot(count, weights)) for count in (FEW, MANY))
    scattered = small_sets(balancer, weights)
    costs = interleaved(
        {
            "few": lambda: picks(few),
            "many": lambda: picks(many),
            "scattered": lambda: picks(*scattered),
        },
        rounds=ROUNDS,
    )
    for case, count in (("few", FEW), ("many", MANY)):
        value = median(costs[case]) * 1e6
        yield at_most(name, f"pick and done, {count:,} endpoints: {kind}", value, 3, "us")
    for case, what in (("few", f"{FEW}"), ("scattered", f"as many in sets of {FEW}")):
        growth, detail = ratio(costs["many"], costs[case]), spread(costs["many"], costs[case])
        yield at_most(name, f"{MANY:,} endpoints against {what}: {kind}", growth, 1.3, "x", detail)


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
        for weights in (1, 10):
            yield from of_picks(balancer, weights)
            yield from of_updates(balancer, weights)
    for balancer in BALANCERS:
        yield of_memory(balancer)
    yield of_waiting()


if __name__ == "__main__":
    run(measure)
