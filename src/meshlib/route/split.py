"""
A weighted choice between targets: by chance, or by a key that sticks.

The sticky choice is weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
distributed hash tables", 2005).  The key draws, for every leg, a number `e` that is exponentially
distributed and depends on the key and the leg's target alone; the smallest `e / weight` wins.
So every leg gets its share, the order in which legs are written does not matter, and
**a key moves from leg A to leg B only if B's weight grew relative to A's**.  Hence

- two legs: raising v2 from 10 to 20 moves nobody from v2 back to v1;
- any number: while one leg grows and no other does, nobody leaves the leg that grows;
- a leg that goes to 0, or is taken out, gives its keys away, and none comes back to it.

What is not promised for three legs and more: that a leg whose weight stays keeps all of its
keys.  When another leg grows, that one may draw some of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from math import log

from meshlib.errors import ConfigError
from meshlib.model import Call, Target
from meshlib.route.headers import NO_CHANGES, HeaderChanges
from meshlib.route.sticky import Sticky
from meshlib.runtime import Rng

WHOLE = 100.0
"""What weights add up to, as in Consul's service-splitter ..."""
TOLERANCE = 0.001
"""... give or take a tenth of the step that counts."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Leg:
    """One target and its share of the calls, in percent; 0.01 is the step that counts."""

    target: Target
    weight: float
    request: HeaderChanges = NO_CHANGES
    """Changes to the headers of calls that go this way ..."""
    response: HeaderChanges = NO_CHANGES
    """... and of their replies."""


@dataclass(frozen=True, slots=True)
class Split:
    """Legs that share the calls.  Equal legs and stickiness make equal splits.

    Raises ConfigError when the weights do not make a whole, or a target comes twice.
    """

    legs: tuple[Leg, ...]
    sticky: Sticky | None = None
    _bounds: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """Where each leg's range ends, in [0, total]."""
    _seeds: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_legs(self.legs)
        object.__setattr__(self, "_bounds", tuple(accumulate(leg.weight for leg in self.legs)))
        object.__setattr__(self, "_seeds", tuple(_seed(leg.target) for leg in self.legs))

    def choose(self, call: Call, rng: Rng) -> Leg:
        """The leg for this call: by its key if it carries one, otherwise by chance."""
        if len(self.legs) == 1:
            return self.legs[0]
        key = self.sticky.key(call) if self.sticky else ""
        return self.stick(key) if key else self._draw(rng)

    def stick(self, key: str) -> Leg:
        """The leg of a key: the same in every process, and for as long as the weights stay."""
        number = _hash(key)
        contest = (
            (_exponential(number ^ seed) / leg.weight, index)
            for index, (leg, seed) in enumerate(zip(self.legs, self._seeds, strict=True))
            if leg.weight
        )
        return self.legs[min(contest)[1]]

    def _draw(self, rng: Rng) -> Leg:
        # Below the last bound: a float under 1 times a total near 100 does not round up to it.
        point = rng.random() * self._bounds[-1]
        return self.legs[bisect_right(self._bounds, point)]


def whole(target: Target) -> Split:
    """Everything to one target."""
    return Split((Leg(target, WHOLE),))


def check_weights(weights: Sequence[float], *, path: str = "Splits") -> None:
    """Raise ConfigError, naming the weight or the list, unless they make a whole."""
    for number, weight in enumerate(weights):
        if not 0 <= weight <= WHOLE:  # also false for NaN
            raise ConfigError(f"{path}[{number}].Weight", weight, "a percentage 0..100")
    total = sum(weights)
    if abs(total - WHOLE) > TOLERANCE + 1e-9:  # 99.999 is in; in floats it is not
        sums = f"weights that add up to 100, these make {total:g}"
        raise ConfigError(path, list(weights), sums)


def check_legs(legs: Sequence[Leg], *, path: str = "Splits") -> None:
    """Raise ConfigError unless the weights make a whole and every target comes once."""
    check_weights([leg.weight for leg in legs], path=path)
    seen: set[Target] = set()
    for number, leg in enumerate(legs):
        if leg.target in seen:
            raise ConfigError(f"{path}[{number}]", str(leg.target), "every target once")
        seen.add(leg.target)


def _hash(key: str) -> int:
    """64 bits, equal in every process; `hash` is salted."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _seed(target: Target) -> int:
    return _hash(f"{target.upstream}\0{target.subset}")


def _exponential(number: int) -> float:
    """An exponentially distributed number for 64 bits, mixed by splitmix64's finaliser."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    number ^= number >> 31
    return -log(((number >> 11) + 0.5) * 2.0**-53)
