"""
Which endpoints a picker draws from.

1. Weight 0 means no traffic, unless all have it: then they are equal.
2. Endpoints whose breaker is not closed are probed one request at a time.  Whether they are left
   out besides, drawn less or drawn as before is said by `balance.panic`.
3. Near ones come first (`balance.locality`).
4. A call that names its endpoint gets that one (`balance.session`), before all of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from meshlib.balance.bounded import Bound
from meshlib.balance.consistent import Consistent, Table
from meshlib.balance.hash_key import HashKey, xxhash64
from meshlib.balance.least_request import LeastRequest
from meshlib.balance.load import EndpointState
from meshlib.balance.locality import groups_of
from meshlib.balance.maglev import Maglev
from meshlib.balance.panic import View, view_of
from meshlib.balance.peak_ewma import PeakEwma
from meshlib.balance.picker import NothingToPick, Picker
from meshlib.balance.probing import Probing
from meshlib.balance.random import Random
from meshlib.balance.ring_hash import Ring
from meshlib.balance.round_robin import RoundRobin
from meshlib.balance.session import Sessions
from meshlib.balance.shares import Chance, Group, scattered, share_out, with_biased
from meshlib.balance.slow_start import Ramp, ramp_of
from meshlib.config import UpstreamConfig
from meshlib.config.balance import HASHING
from meshlib.model import Call, Locality
from meshlib.runtime import Clock, Rng

NOWHERE = Locality()
"""Of a caller that does not say where it stands: nothing is near."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a balancer is made of."""

    states: Sequence[EndpointState]
    config: UpstreamConfig
    clock: Clock
    rng: Rng

    @property
    def ramp(self) -> Ramp | None:
        """For balancers that share by weight; hashing has no share to give a newcomer."""
        return ramp_of(self.states, self.clock, self.rng, self.config.slow_start)


def _least_request(parts: Parts) -> Picker:
    return LeastRequest(parts.states, parts.rng, parts.ramp)


def _peak_ewma(parts: Parts) -> Picker:
    return PeakEwma(parts.states, parts.rng, parts.clock, parts.config.peak_ewma, parts.ramp)


def _random(parts: Parts) -> Picker:
    return Random(parts.states, parts.rng, parts.ramp)


def _round_robin(parts: Parts) -> Picker:
    return RoundRobin(parts.states, parts.rng, parts.ramp)


def _ring_hash(parts: Parts) -> Picker:
    return _consistent(parts, Ring(parts.states, xxhash64(), parts.config.hashing))


def _maglev(parts: Parts) -> Picker:
    return _consistent(parts, Maglev(parts.states, xxhash64(), parts.config.hashing))


def _consistent(parts: Parts, table: Table) -> Picker:
    hashing = parts.config.hashing
    bound = Bound(parts.states, hashing.balance_factor) if hashing.balance_factor else None
    return Consistent(parts.states, table, HashKey(hashing.keys, parts.rng), parts.rng, bound)


BALANCERS: Mapping[str, Callable[[Parts], Picker]] = MappingProxyType(
    {
        "least_request": _least_request,
        "maglev": _maglev,
        "peak_ewma": _peak_ewma,
        "random": _random,
        "ring_hash": _ring_hash,
        "round_robin": _round_robin,
    }
)
"""By the names that `UpstreamConfig.balancer` accepts."""


def build_picker(
    config: UpstreamConfig,
    members: Sequence[EndpointState],
    clock: Clock,
    rng: Rng,
    here: Locality = NOWHERE,
) -> Picker:
    """The picker for `members` as their breakers stand now, for a caller that stands `here`."""
    if not members:
        return NothingToPick()
    weighted = [state for state in members if state.endpoint.weight > 0] or members
    view = view_of(weighted, config.outlier)

    def make(states: Sequence[EndpointState]) -> Picker:
        return BALANCERS[config.balancer](Parts(states, config, clock, rng))

    picker = share_out(_groups(view, weighted, here, config), make, _chance(config, rng))
    if view.waiting:
        picker = Probing(picker, view.waiting, clock)
    return Sessions(picker, members, config.session) if config.session else picker


def _groups(
    view: View, known: Sequence[EndpointState], here: Locality, config: UpstreamConfig
) -> list[Group]:
    """The nearer first, those that fail last.  A view that is doubted says nothing of levels."""
    if view.doubted or (config.balancer in HASHING and config.locality.mode == "zone_aware"):
        groups = [Group(1.0, view.drawn)]
    else:
        groups = groups_of(view.drawn, known, here, config.locality)
    return with_biased(groups, view.biased, config.outlier.bias)


def _chance(config: UpstreamConfig, rng: Rng) -> Chance:
    """What groups are drawn by: chance, or the call's key where the same must get the same."""
    if config.balancer not in HASHING:
        return lambda _: rng.random()
    key = HashKey(config.hashing.keys, rng)

    def by_key(call: Call) -> float:
        hashed = key(call)
        return rng.random() if hashed is None else scattered(hashed)

    return by_key
