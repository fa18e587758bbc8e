"""What a decision of the limits costs: rates, circuits, concurrency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from _common import Result, at_most, cpu_seconds, interleaved, name_of, run

from meshlib.config import CircuitConfig, ConcurrencyConfig, QuotaConfig, RatesConfig
from meshlib.model import Verdict
from meshlib.policy.circuit import Circuit
from meshlib.policy.concurrency import ConcurrencyLimit
from meshlib.policy.limiter import Meter, RateLimiter
from meshlib.policy.rates import Rates, Visitor
from meshlib.runtime import new_rng, real_clock

DECISIONS = 20_000
ROUNDS = 9
CALLERS = 10_000
PLENTY = QuotaConfig(limit=1e9)


def one_key() -> Callable[[], object]:
    """One quota, one key: a client's rate, or a service's total."""
    limiter, asked = RateLimiter(real_clock), ((Meter("m", PLENTY), ""),)

    def work() -> None:
        for _ in range(DECISIONS):
            limiter.take(asked)

    return work


def many_keys() -> Callable[[], object]:
    """Ten thousand callers in turn, each with a bucket."""
    limiter, meter = RateLimiter(real_clock), Meter("m", PLENTY, max_keys=CALLERS)
    keys = [f"spiffe://mesh/svc/caller-{number}" for number in range(CALLERS)]

    def work() -> None:
        for number in range(DECISIONS):
            limiter.take(((meter, keys[number % CALLERS]),))

    return work


def whole() -> Callable[[], object]:
    """What a served request asks: its caller's quota and the total, found by its visitor."""
    rates = Rates(real_clock, RatesConfig(total=PLENTY, per_caller=PLENTY))
    visitors = [Visitor(f"caller-{number}", "frontend", "GET", "/") for number in range(100)]

    def work() -> None:
        for number in range(DECISIONS):
            rates.take(visitors[number % 100])

    return work


def refusals() -> Callable[[], object]:
    """A quota that is used up."""
    limiter, asked = RateLimiter(real_clock), ((Meter("m", QuotaConfig(limit=1, per=1e6)), ""),)

    def work() -> None:
        for _ in range(DECISIONS):
            limiter.take(asked)

    return work


def circuit() -> Callable[[], object]:
    """Leave and report of a closed circuit."""
    made = Circuit("shop GET", real_clock, new_rng(), CircuitConfig())

    def work() -> None:
        for _ in range(DECISIONS):
            made.report(made.acquire() or _none(), Verdict.SUCCESS, 0.001)

    return work


def concurrency() -> Callable[[], object]:
    """A place taken, a sample told, the place given back."""
    made = ConcurrencyLimit(real_clock, ConcurrencyConfig())

    def work() -> None:
        for _ in range(DECISIONS):
            made.try_acquire()
            made.observe(0.001)
            made.release()

    return work


def _none() -> None:
    message = "a closed circuit lets everybody through"
    raise AssertionError(message)


CASES = {
    "rate, one key": (one_key, 1.5),
    "rate, 10,000 callers": (many_keys, 1.5),
    "rate, refused": (refusals, 1.5),
    "caller and total of a served request": (whole, 3.0),
    "circuit, leave and report": (circuit, 3.0),
    "adaptive concurrency": (concurrency, 3.0),
}


def measure() -> Iterator[Result]:
    """See the module."""
    works = {case: make() for case, (make, _) in CASES.items()}
    costs = interleaved(
        {case: lambda work=work: cpu_seconds(work) for case, work in works.items()}, rounds=ROUNDS
    )
    for case, (_, bound) in CASES.items():
        typical = median(costs[case]) / DECISIONS * 1e6
        yield at_most(name_of(__file__), case, typical, bound, "us", "CPU of one decision")


if __name__ == "__main__":
    run(measure)
