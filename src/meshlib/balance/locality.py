"""
Near endpoints first: those of the caller's own zone, then of its region, then all others.

Each of the three levels takes what it can, and the rest flows on to the next:

    failover      capacity = overprovisioning * well / known               of the level
    zone_aware    capacity = overprovisioning * well in the level / fair
                  fair     = known in all levels / zones

Failover is Envoy's priority load: with a factor of 1.4 a level serves alone until fewer than 72 %
of its endpoints are well.  Zone-aware routing looks at size as well: callers are taken to be spread
evenly over the zones, so a zone that holds 1 of 10 endpoints can serve a tenth of the callers, not
the half that may stand in it (Envoy knows where its callers stand, and reckons in the same way).
If all levels together cannot take everything, each gets its share of what they can.

Counts are weighted.  Well is who is drawn from with its whole weight (`balance.panic`).
"""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.balance.load import EndpointState
from meshlib.balance.shares import Group
from meshlib.config import LocalityConfig
from meshlib.model import Locality

LEVELS = 3

States = Sequence[EndpointState]


def level_of(there: Locality, here: Locality) -> int:
    """0: the caller's own zone, 1: its region, 2: anywhere."""
    if here.zone and there == here:
        return 0
    return 1 if here.region and there.region == here.region else 2


def groups_of(drawn: States, known: States, here: Locality, config: LocalityConfig) -> list[Group]:
    """Share the traffic out among `drawn`, some of the endpoints `known`; nearest level first.

    A level may have no share, and is there for retries only.
    """
    if not _prefers(known, here, config):
        return [Group(1.0, drawn)]
    levels: list[list[EndpointState]] = [[] for _ in range(LEVELS)]
    for state in drawn:
        levels[level_of(state.endpoint.locality, here)].append(state)
    capacities = _capacities(levels, known, here, config)
    taken = waterfall(capacities)
    return [Group(share, level) for share, level in zip(taken, levels, strict=True) if level]


def waterfall(capacities: Sequence[float]) -> list[float]:
    """What of 1 each takes when the first takes what it can, the second of what is left, ..."""
    left, taken = 1.0, []
    for capacity in capacities:
        taken.append(min(left, capacity))
        left -= taken[-1]
    total = sum(taken)
    return [share / total for share in taken]


def _prefers(known: States, here: Locality, config: LocalityConfig) -> bool:
    if config.mode == "off" or here == Locality():
        return False
    return config.mode == "failover" or len(known) >= config.min_endpoints


def _capacities(
    levels: Sequence[States], known: States, here: Locality, config: LocalityConfig
) -> list[float]:
    whole = [0.0] * LEVELS
    for state in known:
        whole[level_of(state.endpoint.locality, here)] += state.weight
    if config.mode == "zone_aware":
        zones = len({state.endpoint.locality for state in known})
        whole = [sum(whole) / zones] * LEVELS
    well = [sum(state.weight for state in level) for level in levels]
    return [
        config.overprovisioning * weight / fair if weight else 0.0
        for weight, fair in zip(well, whole, strict=True)
    ]
