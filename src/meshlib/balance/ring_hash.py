"""
Ring hash: each endpoint stands at many points of a ring, a key belongs to the next point.

The ring is Envoy's (`ring_hash_lb.cc`, after Ketama): the i-th point of an endpoint stands at the
xxHash64 of "address:port_i", and there are so many that the lightest endpoint has a whole number.
So a fleet of Envoys and of ours sends a key to the same endpoint.  With weights that are no
multiples of the lightest, that also needs the same order of the endpoints.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from math import ceil

from meshlib.balance.hash_key import Hash
from meshlib.balance.load import EndpointState
from meshlib.config import HashConfig


class Ring:
    """The points of `states`, in order.  A look-up is a binary search."""

    __slots__ = ("_hashes", "_owners")

    def __init__(self, states: Sequence[EndpointState], digest: Hash, config: HashConfig) -> None:
        counts = list(points([state.weight for state in states], config))
        numbers = [b"_%d" % number for number in range(max(counts))]
        names = [state.endpoint.authority.encode() for state in states]
        placed = [
            name + number for name, n in zip(names, counts, strict=True) for number in numbers[:n]
        ]
        indices = chain.from_iterable(map(repeat, range(len(states)), counts))
        owners = dict(zip(map(digest, placed), indices, strict=True))
        hashes = sorted(owners)
        self._hashes = array("Q", hashes)
        self._owners = array("I", map(owners.__getitem__, hashes))

    def at(self, hashed: int, attempt: int) -> int:
        """Who stands at `hashed` or next behind it; with `attempt`, so many points further."""
        point = bisect_left(self._hashes, hashed) + attempt
        return self._owners[point % len(self._owners)]

    def __len__(self) -> int:
        return len(self._hashes)


def points(weights: Sequence[int], config: HashConfig) -> Iterator[int]:
    """How many points each has.  Sums run on, in Envoy's order, so that rounding evens out."""
    whole = sum(weights)
    least = min(weights) / whole
    scale = min(ceil(least * config.min_ring) / least, float(config.max_ring))
    target, placed = 0.0, 0
    for weight in weights:
        target += scale * (weight / whole)
        count = ceil(target - placed)
        placed += count
        yield count
