"""What a process believes, with a clock of its own and no thread."""

from __future__ import annotations

import threading

import pytest

from meshlib.control.consul.followed import PATIENCE, Followed
from meshlib.control.consul.guard import HOLD
from meshlib.control.consul.memory import REFRESH, WRITE_EVERY, Memory, never
from meshlib.control.consul.snapshot import OLDEST, SnapshotFile
from meshlib.control.registry import Document
from meshlib.model import Bound, Endpoint, Failed, Neg, Pending, Snapshot
from meshlib.testing.clock import FakeClock
from meshlib.trust.intention import IntentionSet
from meshlib.watch import Watch

SHOP = Bound(Snapshot("shop", (Endpoint("a", "10.0.0.1", 80), Endpoint("b", "10.0.0.2", 80))))
POLICY = (Document("traffic-policy", "shop", {}, 1),)


@pytest.fixture
def clock():
    """Time of a test."""
    return FakeClock()


@pytest.fixture
def events():
    """What was told."""
    return []


@pytest.fixture
def remember(tmp_path, clock, events):
    """A memory of one machine; every one made is another process."""

    def make(agent: str = "consul://x:1", age=never) -> Memory:
        return Memory(
            agent,
            SnapshotFile(tmp_path / "consul", "front"),
            age=age,
            event=lambda kind, subject, _: events.append((kind, subject)),
            clock=clock,
            now=lambda: 1e9 + clock(),
            threaded=False,
        )

    return make


def test_what_discovery_says_is_passed_on(remember):
    """At once, and the same watch for the same name."""
    memory, source = remember(), Watch(Pending())
    told = memory.endpoints("shop", source)
    assert not told.ready
    source.set(SHOP)
    assert SHOP == told.value
    assert told is memory.endpoints("shop", source)


def test_a_vanished_service_is_held_and_told_once(remember, clock, events):
    """And let go without another answer, when its time is over."""
    memory, source = remember(), Watch(SHOP, ready=True)
    told = memory.endpoints("shop", source)
    source.set(Neg())
    source.set(Bound(Snapshot("shop", ())))
    assert SHOP == told.value
    assert [("endpoints-held", "shop")] == events
    clock.advance(HOLD)
    memory.step()
    assert Bound(Snapshot("shop", ())) == told.value
    assert [("endpoints-held", "shop"), ("endpoints-released", "shop")] == events


def test_a_cold_start_without_consul_uses_the_snapshot(remember, clock, events):
    """Endpoints and documents of the process before, after a moment of patience."""
    before = remember()
    before.endpoints("shop", Watch(SHOP, ready=True))
    before.documents("shop", Watch(POLICY, ready=True))
    before.close()
    memory = remember()
    endpoints = memory.endpoints("shop", Watch(Pending()))
    documents = memory.documents("shop", Watch(()))
    memory.step()
    assert not endpoints.ready
    clock.advance(PATIENCE)
    memory.step()
    assert (SHOP, POLICY) == (endpoints.value, documents.value)
    assert [("snapshot-used", "shop")] == events


def test_consul_has_the_last_word(remember, clock):
    """What the snapshot said is replaced by the first answer."""
    before = remember()
    before.endpoints("shop", Watch(SHOP, ready=True))
    before.close()
    memory, source = remember(), Watch(Pending())
    told = memory.endpoints("shop", source)
    clock.advance(PATIENCE)
    memory.step()
    now = Bound(Snapshot("shop", (Endpoint("a", "10.0.0.9", 80),)))
    source.set(now)
    assert now == told.value


def test_a_failed_first_answer_is_no_answer(remember, clock):
    """Discovery that says it cannot know leaves room for the snapshot."""
    before = remember()
    before.endpoints("shop", Watch(SHOP, ready=True))
    before.close()
    memory = remember()
    told = memory.endpoints("shop", Watch(Failed("refused"), ready=True))
    assert Failed("refused") == told.value
    clock.advance(PATIENCE)
    memory.step()
    assert SHOP == told.value


def test_what_is_held_is_not_written(remember, clock, tmp_path):
    """A snapshot says what Consul said, and when nothing changed it is not written again."""
    memory, source = remember(), Watch(SHOP, ready=True)
    memory.endpoints("shop", source)
    clock.advance(WRITE_EVERY)
    memory.step()
    path = tmp_path / "consul" / "front.snapshot"
    first = path.read_bytes()
    clock.advance(WRITE_EVERY)
    memory.step()
    assert first == path.read_bytes()
    source.set(Neg())
    clock.advance(WRITE_EVERY)
    memory.step()
    assert first == path.read_bytes()


def test_a_damaged_snapshot_is_told_and_not_used(remember, clock, events, tmp_path):
    """Once."""
    before = remember()
    before.endpoints("shop", Watch(SHOP, ready=True))
    before.close()
    (tmp_path / "consul" / "front.snapshot").write_bytes(b"no")
    memory = remember()
    told = memory.endpoints("shop", Watch(Pending()))
    for _ in range(3):
        clock.advance(PATIENCE)
        memory.step()
    assert not told.ready
    assert [("snapshot-refused", "consul://x:1")] == events


def test_a_quiet_day_does_not_make_the_snapshot_old(remember, clock):
    """Nothing has changed, and Consul has said so all the time."""
    before = remember(age=lambda name: 1.0)
    before.endpoints("shop", Watch(SHOP, ready=True))
    for _ in range(int(OLDEST / REFRESH) + 2):
        before.step()
        clock.advance(REFRESH)
    assert SHOP == cold_start(remember(), clock)


def test_a_day_without_consul_makes_the_snapshot_old(remember, clock, events):
    """However often it was written: what counts is when Consul last confirmed it."""
    began = clock()
    before = remember(age=lambda name: clock() - began)
    before.endpoints("shop", Watch(SHOP, ready=True))
    for _ in range(int(OLDEST / REFRESH) + 2):
        before.step()
        clock.advance(REFRESH)
    assert Pending() == cold_start(remember(), clock)
    assert [("snapshot-refused", "consul://x:1")] == events


def cold_start(memory, clock):
    """What is believed of the shop when Consul stays silent."""
    told = memory.endpoints("shop", Watch(Pending()))
    clock.advance(PATIENCE)
    memory.step()
    return told.value


def test_a_service_that_is_gone_is_not_called_from_memory(remember, clock):
    """Once that was believed, not while it was held."""
    before, source = remember(), Watch(SHOP, ready=True)
    before.endpoints("shop", source)
    clock.advance(WRITE_EVERY)
    before.step()
    source.set(Neg())
    clock.advance(HOLD)
    before.step()
    before.close()
    assert Pending() == cold_start(remember(), clock)


def test_intentions_are_recalled(remember, clock, events):
    """By who reads Consul's words, and once."""
    before = remember()
    before.heard_intentions("front", {"Allow": True})
    before.close()
    memory, recalled = remember(), []
    nobody = Watch(IntentionSet.unknown("front"))
    assert nobody is memory.intentions("front", nobody, recalled.append)
    for _ in range(3):
        memory.step()
        clock.advance(PATIENCE)
    assert [{"Allow": True}] == recalled
    assert [("snapshot-used", "front")] == events


def test_intentions_that_were_heard_are_not_recalled(remember, clock):
    """Consul was quicker."""
    before = remember()
    before.heard_intentions("front", {"Allow": True})
    before.close()
    memory, recalled = remember(), []
    memory.intentions("front", Watch(IntentionSet.unknown("front")), recalled.append)
    memory.heard_intentions("front", {"Allow": False})
    clock.advance(PATIENCE)
    memory.step()
    assert [] == recalled


def test_those_who_are_told_may_ask_for_more(remember):
    """On another thread, and wait for that: no lock is held while they are told."""
    memory, source = remember(), Watch(Pending())
    told, more = memory.endpoints("shop", source), Watch(SHOP, ready=True)

    def ask_elsewhere():
        thread = threading.Thread(target=memory.endpoints, args=("bank", more), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        asked.append(thread.is_alive())

    asked = []
    told.subscribe(ask_elsewhere)
    source.set(SHOP)
    assert [False] == asked


def test_a_disk_that_takes_nothing_is_told_once(remember, clock, events, tmp_path):
    """And nothing else suffers."""
    (tmp_path / "consul").mkdir(mode=0o755)
    memory, source = remember(), Watch(SHOP, ready=True)
    told = memory.endpoints("shop", source)
    for number in range(3):
        source.set(Bound(Snapshot("shop", (Endpoint(f"{number}", "10.0.0.1", 80),))))
        clock.advance(WRITE_EVERY)
        memory.step()
    assert source.value == told.value
    assert [("snapshot-not-written", "consul://x:1")] == events


def test_consul_that_answers_at_the_same_moment_wins():
    """Its answer is there, though nobody was told of it yet."""
    source = Watch(Pending())
    followed = Followed(source, 0.0, lambda said: said)
    source.set(Bound(Snapshot("shop", ())))
    first = []
    assert not followed.recall(SHOP, lambda: first.append(True))
    assert ([], False) == (first, followed.told.ready)


def test_the_end_is_no_event(remember, events):
    """Our own instances leave then."""
    memory, source = remember(), Watch(SHOP, ready=True)
    memory.endpoints("shop", source)
    memory.close()
    source.set(Neg())
    assert [] == events
