"""The tables of ring_hash and maglev, against a literal transcription of Envoy's loops."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from math import ceil
from random import Random

import pytest
from xxhash import xxh64_intdigest

from meshlib.balance.bounded import Bound
from meshlib.balance.consistent import Consistent
from meshlib.balance.hash_key import HashKey
from meshlib.balance.maglev import Maglev
from meshlib.balance.ring_hash import Ring
from meshlib.config import HashConfig, HashKeyConfig
from meshlib.model import Attempt, Call, Verdict

KEY = (HashKeyConfig(header="k"),)
TABLES = {"ring_hash": Ring, "maglev": Maglev}
WEIGHTS = [(1,), (1, 1, 1), (7, 7), (1, 2, 3), (100, 1, 3), (3, 3, 1, 1, 9)]


def names(members):
    return [f"{state.endpoint.host}:{state.endpoint.port}" for state in members]


def envoys_ring(members, least, most):
    """`RingHashLoadBalancer::Ring::Ring`, line by line."""
    whole = sum(state.weight for state in members)
    shares = [state.weight * 1.0 / whole for state in members]
    scale = min(ceil(min(shares) * least) / min(shares), float(most))
    ring, current, target = [], 0.0, 0.0
    for index, name in enumerate(names(members)):
        target += scale * shares[index]
        i = 0
        while current < target:
            ring.append((xxh64_intdigest(f"{name}_{i}".encode()), index))
            i += 1
            current += 1
    return sorted(ring)


def envoys_maglev(members, size):
    """`OriginalMaglevTable::constructImplementationInternals`, line by line."""
    whole = sum(state.weight for state in members)
    entries = []
    for name, index in sorted((name, index) for index, name in enumerate(names(members))):
        skip = xxh64_intdigest(name.encode(), 1) % (size - 1) + 1
        weight = members[index].weight * 1.0 / whole
        entries.append([index, xxh64_intdigest(name.encode()) % size, skip, weight, 0.0, 0])
    most = max(entry[3] for entry in entries)
    table, filled, iteration = [None] * size, 0, 0
    while filled < size:
        iteration += 1
        for entry in entries:
            index, offset, skip, weight, owed, step = entry
            if filled == size or iteration * weight < owed:
                continue
            while table[(offset + skip * step) % size] is not None:
                step += 1
            table[(offset + skip * step) % size] = index
            entry[4:] = owed + most, step + 1
            filled += 1
    return table


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("bounds", [(1024, 8388608), (100, 100), (1, 7), (5000, 5000)])
def test_the_ring_is_envoys(states, weights, bounds):
    """Points, their owners and so every look-up are those of Envoy's code."""
    members = states(*weights)
    config = HashConfig(keys=KEY, min_ring=bounds[0], max_ring=bounds[1])
    ring, theirs = Ring(members, xxh64_intdigest, config), envoys_ring(members, *bounds)
    assert len(theirs) == len(ring)
    hashes = [hashed for hashed, _ in theirs]
    for key in [xxh64_intdigest(bytes([n])) for n in range(200)] + hashes[:3] + [0, 2**64 - 1]:
        assert theirs[bisect_left(hashes, key) % len(theirs)][1] == ring.at(key, 0)


@pytest.mark.parametrize("weights", [*WEIGHTS, (1, 10**6), (2, 3, 5, 7, 11, 13)])
@pytest.mark.parametrize("size", [2, 251, 4099])
def test_the_maglev_table_is_envoys(states, weights, size):
    """Every slot has the owner that Envoy's code gives it."""
    members = states(*weights)
    table = Maglev(members, xxh64_intdigest, HashConfig(keys=KEY, table=size))
    assert envoys_maglev(members, size) == [table.at(slot, 0) for slot in range(size)]


def test_the_order_of_discovery_does_not_matter(states):
    """Whatever order the endpoints come in, maglev gives a key to the same one."""
    members = states(1, 2, 3, 4)
    config = HashConfig(keys=KEY, table=251)
    table, turned = (Maglev(list(some), xxh64_intdigest, config) for some in _orders(members))
    for slot in range(251):
        assert members[table.at(slot, 0)] is members[3 - turned.at(slot, 0)]


def _orders(members):
    return members, reversed(members)


@pytest.mark.parametrize(
    ("kind", "weights", "owners"),
    [
        ("ring_hash", (1, 1, 1, 1, 1), "aacaeabccbccaccbaadd"),
        ("ring_hash", (1, 2, 3, 5, 8), "aacaedecebccecbbdedd"),
        ("maglev", (1, 1, 1, 1, 1), "cebbeeacaeddcbbcbedb"),
        ("maglev", (1, 2, 3, 5, 8), "cebdeeeceeddcbccdeeb"),
    ],
)
def test_what_a_real_envoy_said(states, kind, weights, owners):
    """Who had the keys user-0 to user-19 when Envoy 1.40 was asked (tests/envoy asks live)."""
    table = TABLES[kind](states(*weights), xxh64_intdigest, HashConfig(keys=KEY))
    hashes = (xxh64_intdigest(b"user-%d" % n) for n in range(20))
    assert owners == "".join("abcde"[table.at(hashed, 0)] for hashed in hashes)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("removed", [0, 4, 9])
def test_few_keys_move(states, kind, removed):
    """When one of ten goes, its keys move and few others.

    Envoy's ring has more points an endpoint when there are fewer endpoints, which moves some more.
    """
    members = states(*[1] * 10)
    left = [state for state in members if state is not members[removed]]
    config = HashConfig(keys=KEY)
    before, after = (TABLES[kind](some, xxh64_intdigest, config) for some in (members, left))
    keys = [xxh64_intdigest(b"%d" % n) for n in range(5000)]
    owners = [(members[before.at(key, 0)], left[after.at(key, 0)]) for key in keys]
    moved = sum(a is not b for a, b in owners)
    lost = sum(a is members[removed] for a, _ in owners)
    assert 350 < lost <= moved < 0.25 * 5000


@pytest.fixture(params=TABLES)
def picker_of(request, states):
    """A picker over endpoints of these weights, and a way to ask it."""

    def make(*weights, factor=0):
        members = states(*weights)
        config = HashConfig(keys=KEY, table=4099, balance_factor=factor)
        table = TABLES[request.param](members, xxh64_intdigest, config)
        bound = Bound(members, factor) if factor else None
        key = HashKey(KEY, Random(1))
        return members, Consistent(members, table, key, Random(1), bound)

    return make


def of(key, *tried):
    headers = {} if key is None else {"k": key}
    return Attempt(Call("b", headers=headers, tried=tuple(s.endpoint for s in tried)))


def test_the_same_key_stays(picker_of):
    """A key goes to one endpoint, and the keys spread over all."""
    _, picker = picker_of(1, 1, 1, 1)
    first = [picker.pick(of(f"{n}")).endpoint.id for n in range(400)]
    assert first == [picker.pick(of(f"{n}")).endpoint.id for n in range(400)]
    assert all(50 < times < 160 for times in Counter(first).values())


def test_keys_spread_by_weight(picker_of):
    """Thrice the weight has about thrice the keys."""
    _, picker = picker_of(3, 1)
    seen = Counter(picker.pick(of(f"{n}")).endpoint.id for n in range(4000))
    assert 2700 < seen["a"] < 3300


def test_no_key_is_no_error(picker_of):
    """A call without a key goes anywhere."""
    _, picker = picker_of(1, 1, 1)
    assert {"a", "b", "c"} == {picker.pick(of(None)).endpoint.id for _ in range(200)}


def test_a_retry_goes_elsewhere_and_always_there(picker_of):
    """The second choice of a key is another endpoint, the same for every call."""
    members, picker = picker_of(1, 1, 1, 1)
    for n in range(50):
        by_id = {state.endpoint.id: state for state in members}
        first = by_id[picker.pick(of(f"{n}")).endpoint.id]
        seconds = {picker.pick(of(f"{n}", first)).endpoint.id for _ in range(5)}
        assert 1 == len(seconds)
        assert first.endpoint.id not in seconds


def test_until_all_are_tried(picker_of):
    """As long as one is left that was not tried, it is picked."""
    members, picker = picker_of(*[1] * 12)
    for left in members:
        tried = [state for state in members if state is not left]
        assert left.endpoint == picker.pick(of("ann", *tried)).endpoint
    assert picker.pick(of("ann", *members)) is not None


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 2, 1, 1)])
def test_bounded_load(picker_of, weights):
    """A key that everybody asks for overflows: nobody has more than 125 % of its share."""
    members, picker = picker_of(*weights, factor=125)
    picks = [picker.pick(of("hot")) for _ in range(800)]
    whole = sum(weights)
    for state in members:
        assert state.pending <= 1.25 * 800 * state.weight / whole + 1
    for pick in picks:
        pick.done(Verdict.SUCCESS)
    assert 0 == members[0].tally.pending
    assert picker.pick(of("hot")).endpoint == picks[0].endpoint


def test_unbounded_load(picker_of):
    """Without a factor a key stays where it is, however busy that is."""
    _, picker = picker_of(1, 1, 1)
    assert 1 == len({picker.pick(of("hot")).endpoint for _ in range(300)})


def test_what_is_bounded_is_counted_across_pickers(states):
    """Requests picked before the last snapshot still count, and stop counting when they end."""
    members = states(1, 1)
    picks = [Bound(members, 150).pick(0, 7, ()) for _ in range(2)]
    Bound(members, 150)
    assert 2 == members[0].tally.pending
    for pick in picks:
        assert pick.done(Verdict.IGNORED)
        assert not pick.done(Verdict.IGNORED)
    assert 0 == members[0].tally.pending
