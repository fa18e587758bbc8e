"""The empty-answer guard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.consul.guard import FEW, HOLD, MOST, Guard
from meshlib.model import Bound, Endpoint, Failed, Neg, Snapshot
from meshlib.testing.clock import FakeClock


def bound(*names: str) -> Bound:
    """A service of these instances."""
    return Bound(Snapshot("shop", tuple(Endpoint(name, "10.0.0.1", 80) for name in names)))


def ids(resolution) -> set[str]:
    """The instances of a resolution."""
    if not isinstance(resolution, Bound):
        return set()
    return {each.id for each in resolution.snapshot.endpoints}


class Naive:
    """What believes every answer."""

    def __init__(self, clock):
        pass

    def update(self, said):
        return said


def vanish(kind) -> set[str]:
    """Who is left to call when the catalog comes back empty for a moment."""
    guard = kind(FakeClock())
    guard.update(bound("a", "b", "c"))
    return ids(guard.update(bound()))


def test_mass_vanish():
    """Known bug "mass vanish": a catalog that returns empty; the naive twin believes it."""
    assert {"a", "b", "c"} == vanish(Guard)
    assert set() == vanish(Naive)


def test_what_vanished_is_let_go_after_a_while():
    """It is held for a bounded time, and then the registry is believed."""
    clock = FakeClock()
    guard = Guard(clock)
    guard.update(bound("a", "b"))
    assert {"a", "b"} == ids(guard.update(Neg()))
    clock.advance(HOLD - 0.001)
    assert {"a", "b"} == ids(guard.update(Neg()))
    assert guard.holding
    clock.advance(0.002)
    assert Neg() == guard.update(Neg())
    assert not guard.holding


def test_who_comes_meanwhile_is_used_at_once():
    """Newcomers stand beside those that are held."""
    guard = Guard(FakeClock())
    guard.update(bound("a", "b", "c", "d"))
    assert {"a", "b", "c", "d", "e"} == ids(guard.update(bound("e")))


def test_ids_may_be_the_same_on_every_node():
    """Consul's service ids are: what tells instances apart is the address, too."""
    guard = Guard(FakeClock())
    hosts = tuple(Endpoint("shop", f"10.0.0.{n}", 80) for n in range(6))
    guard.update(Bound(Snapshot("shop", hosts)))
    held = guard.update(Bound(Snapshot("shop", hosts[:1])))
    assert set(hosts) == set(held.snapshot.endpoints)


def test_those_that_return_are_no_longer_held():
    """When enough are back the rest is believed to be gone."""
    guard = Guard(FakeClock())
    guard.update(bound("a", "b", "c", "d"))
    guard.update(bound())
    assert {"a", "b"} == ids(guard.update(bound("a", "b")))
    assert not guard.holding


def test_an_orderly_drain_is_believed():
    """Instances that leave one by one are gone at once, down to the last but one."""
    guard = Guard(FakeClock())
    for names in ("abcdefgh", "abcdefg", "abcde", "abc", "ab", "a"):
        assert set(names) == ids(guard.update(bound(*names)))


def test_a_registry_that_cannot_be_asked_changes_nothing():
    """What was good stays, however long."""
    clock = FakeClock()
    guard = Guard(clock)
    assert Failed("down") == guard.update(Failed("down"))
    guard.update(bound("a"))
    clock.advance(1e6)
    assert {"a"} == ids(guard.update(Failed("down")))
    assert not guard.holding


@given(st.lists(st.tuples(st.frozensets(st.sampled_from("abcdefgh")), st.floats(0, 20))))
def test_no_answer_takes_most_away_at_once(answers):
    """Whatever is said: nobody said is left out, and most of a set stays for the hold."""
    clock = FakeClock()
    guard, before, held_since = Guard(clock), set(), None
    for names, pause in answers:
        clock.advance(pause)
        after = ids(guard.update(bound(*names)))
        assert names <= after
        lost = len(before - after)
        if lost and (not after or (len(before) > FEW and lost > MOST * len(before))):
            assert held_since is not None
            assert clock() - held_since >= HOLD
        if not guard.holding:
            assert set(names) == after
        held_since = (held_since if held_since is not None else clock()) if guard.holding else None
        before = after
