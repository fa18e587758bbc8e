from __future__ import annotations

import threading

import pytest

from meshlib.control.consul.coarse import Feed, Subject
from meshlib.control.consul.faults import (
    AgentUnreachable,
    CutShort,
    NotAllowed,
    ServerTrouble,
    UnknownDatacenter,
)
from meshlib.control.consul.http import Answer

PATIENCE = 20.0


class World:
    """A store with a number for each path, a trigger in the test's hand, and what was heard."""

    def __init__(self):
        self.changed = threading.Condition()
        self.values, self.broken, self.waiting = {}, {}, {}
        self.heard, self.failed, self.reads = {}, {}, []
        self.trigger = None
        self.feed = None

    # ---- the source

    def wait(self, path, *, index, interrupt, seconds=None, stale=False):
        ended = threading.Event()
        with self.changed:
            if not index:
                return self.read(path, stale=stale)
            self.waiting[path] = ended
            self.changed.notify_all()
        interrupt.arm(ended.set)
        ended.wait()
        with self.changed:
            del self.waiting[path]
        if interrupt.happened:
            raise CutShort(path)
        return Answer(200, self.values[path], index + 1, {})

    def read(self, path, *, stale):
        self.reads.append((path, stale))
        if fault := None if stale else self.broken.get(path):
            raise fault
        return Answer(200, self.values.get(path, 0), 1, {})

    # ---- the trigger

    ready = False
    heard_at = 5.0
    stopped = False

    def made(self, news):
        assert self.trigger is None
        self.trigger = news
        return self

    def start(self):
        """Nothing: the test says when."""

    def stop(self):
        self.stopped = True

    # ---- what the test does and sees

    def follow(self, *names):
        for name in names:
            self.feed.follow(
                Subject(
                    name,
                    f"/{name}",
                    heard=lambda answer, name=name: self.take(self.heard, name, answer.body),
                    failed=lambda fault, name=name: self.take(self.failed, name, fault),
                )
            )

    def take(self, into, name, value):
        with self.changed:
            into.setdefault(name, []).append(value)
            self.changed.notify_all()

    def write(self, name, value):
        with self.changed:
            self.values[f"/{name}"] = value
            if ended := self.waiting.get(f"/{name}"):
                ended.set()

    def until(self, happened):
        with self.changed:
            assert self.changed.wait_for(happened, PATIENCE), (self.heard, self.failed, self.reads)

    def until_heard(self, name, value):
        self.until(lambda: [value] == self.heard.get(name, [])[-1:])

    def all_told(self):
        """The trigger tells everything from now on."""
        self.ready = True
        self.trigger.begin()


@pytest.fixture
def world():
    """What is tested; closed in the end."""
    world = World()
    world.feed = Feed(world, world.made, name="test", fine=2)
    yield world
    world.feed.close()
    assert world.trigger is None or world.stopped


def test_a_few_have_a_query_each(world):
    """And no trigger."""
    world.follow("a", "b")
    world.until(lambda: {"/a", "/b"} == set(world.waiting))
    world.write("a", 7)
    world.until_heard("a", 7)
    assert (None, False) == (world.trigger, world.feed.coarse)


def test_until_the_trigger_tells_all_the_queries_go_on(world):
    """What changes meanwhile is seen by them, and newcomers are read once."""
    world.follow("a", "b", "c")
    world.until_heard("c", 0)
    world.until(lambda: {"/a", "/b"} == set(world.waiting))
    world.write("a", 7)
    world.until_heard("a", 7)
    assert -1 < world.feed.age_since("a")
    assert float("-inf") == world.feed.age_since("c")


def test_then_they_end_and_everything_is_read_once_more(world):
    """So that nothing between the last answer of a query and the first news is lost."""
    world.follow("a", "b", "c")
    world.until(lambda: {"/a", "/b"} == set(world.waiting))
    world.until_heard("c", 0)
    world.values = {"/a": 1, "/b": 2, "/c": 3}  # and nobody is woken
    world.all_told()
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        world.until_heard(name, value)
    assert {} == world.waiting
    world.until(lambda: world.feed.age_since("a") == world.feed.age_since("c") == 5.0)


def test_what_the_trigger_names_is_read(world):
    """And what nobody follows is not."""
    world.follow("a", "b", "c")
    world.all_told()
    world.until(lambda: {"a", "b", "c"} <= set(world.heard))
    world.write("c", 9)
    world.trigger.changed(["c", "stranger"])
    world.until_heard("c", 9)
    world.write("b", 4)
    world.trigger.suspect()
    world.until_heard("b", 4)
    assert ("/stranger", False) not in world.reads


@pytest.mark.parametrize(
    "fault", [ServerTrouble("no leader"), AgentUnreachable("it hangs", timed_out=True)]
)
def test_without_a_leader_any_server_will_do(world, fault):
    """What is old is better than nothing, and is read again."""
    world.broken["/c"] = fault
    world.values["/c"] = 3
    world.follow("a", "b", "c")
    world.until_heard("c", 3)
    assert [("/c", False), ("/c", True)] == [each for each in world.reads if each[0] == "/c"]


@pytest.mark.parametrize("fault", [NotAllowed("no rights"), UnknownDatacenter("nowhere")])
def test_a_refusal_is_told_and_stops_nobody(world, fault):
    """The others are read; and so is it, when the trigger names it."""
    world.broken["/c"] = fault
    world.follow("a", "b", "c", "d")
    world.until_heard("d", 0)
    assert [fault] == world.failed["c"]
    world.broken.clear()
    world.trigger.changed(["c"])
    world.until_heard("c", 0)


def test_an_outage_is_told_and_tried_on(world):
    """Until it is over."""
    world.broken["/c"] = fault = AgentUnreachable("nobody listens")
    world.follow("a", "b", "c")
    world.until(lambda: [fault] == world.failed.get("c", [])[:1])
    assert ("/c", True) not in world.reads
    world.broken.clear()
    world.until_heard("c", 0)


def test_the_end_does_not_wait_for_an_answer(world):
    """A hung agent must not keep a program from ending; and that it ended is no outage."""
    reading, was_cut = threading.Event(), []

    def hang(path, *, interrupt, **_):
        cut = threading.Event()
        interrupt.arm(cut.set)
        reading.set()
        was_cut.append(cut.wait(PATIENCE))
        raise CutShort(path)

    world.wait = hang
    world.follow("a", "b", "c")
    assert reading.wait(PATIENCE)
    world.feed.close()
    assert all(was_cut)
    assert "c" not in world.failed
