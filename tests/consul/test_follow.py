"""Followers of the real agent: what they hear, and what they survive."""

from __future__ import annotations

import os
import random
import threading
from contextlib import ExitStack
from queue import Queue

import pytest

from meshlib.control.consul import faults, http
from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.follow import Follower
from meshlib.control.consul.http import ConsulClient

PATIENCE = 20.0
"""Seconds until a test gives up on an answer; none is expected to take a fraction of it."""


class Ear:
    """Keeps what a follower says, in order."""

    def __init__(self):
        self.answers, self.faults = Queue(), Queue()

    def heard(self):
        return self.answers.get(timeout=PATIENCE)

    def failed(self):
        return self.faults.get(timeout=PATIENCE)

    def next_with(self, wanted):
        """The next answer whose body is as wanted."""
        while not wanted((answer := self.heard()).body):
            pass
        return answer


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def follow(ear):
    """Start followers that tell `ear`; they are stopped in the end."""
    with ExitStack() as followers:

        def start(client, path, **options):
            options = {"heard": ear.answers.put, "failed": ear.faults.put, **options}
            follower = Follower(client, path, **options)
            followers.callback(follower.stop)
            follower.start()
            return follower

        yield start


class Ticks:
    """A clock that says when it was asked so many times more: once for each answer, and pause."""

    def __init__(self):
        self.count, self.changed = 0, threading.Condition()

    def __call__(self):
        with self.changed:
            self.count += 1
            self.changed.notify_all()
        return float(self.count)

    def pass_by(self, ticks):
        with self.changed:
            until = self.count + ticks
            assert self.changed.wait_for(lambda: self.count >= until, PATIENCE)


def test_it_hears_what_is_there_and_each_change(client, name, follow, ear):
    """The first answer comes at once, the next with the next write."""
    client.put(f"/v1/kv/{name}", b"1")
    follow(client, f"/v1/kv/{name}", params={"raw": None})
    assert b"1" == ear.heard().body
    client.put(f"/v1/kv/{name}", b"2")
    assert b"2" == ear.heard().body


def test_it_hears_of_what_appears_and_vanishes(client, name, follow, ear):
    """What does not exist is an answer with status 404, before and after."""
    follow(client, f"/v1/kv/{name}")
    assert 404 == ear.heard().status
    client.put(f"/v1/kv/{name}", b"1")
    assert 200 == ear.heard().status
    client.delete(f"/v1/kv/{name}")
    assert 404 == ear.heard().status


def test_a_wait_that_ends_by_itself_is_no_news(client, name, follow, ear):
    """Nothing is heard of many waits without a change, but they confirm what was heard."""
    ticks = Ticks()
    follower = follow(client, f"/v1/kv/{name}", seconds=0.01, interval=0.0, clock=ticks)
    ear.heard()
    before = follower.heard_at
    ticks.pass_by(20)
    assert ear.answers.empty()
    assert follower.heard_at > before


def test_many_followers_of_one_client(client, name, ear, follow):
    """Each has a connection of its own, and hears its own path."""
    for number in range(5):
        follow(client, f"/v1/kv/{name}-{number}")
        ear.heard()
    client.put(f"/v1/kv/{name}-3", b"1")
    assert f"{name}-3" == ear.next_with(lambda body: body).body[0]["Key"]
    assert 7 >= client.connections


def test_a_callback_that_raises_is_logged(client, name, follow, ear, caplog):
    """The follower goes on after it."""

    def heard(answer):
        ear.answers.put(answer)
        raise RuntimeError("callback")

    follow(client, f"/v1/kv/{name}", heard=heard)
    ear.heard()
    client.put(f"/v1/kv/{name}", b"1")
    assert 200 == ear.heard().status
    assert "a callback for" in caplog.text


def test_stop_ends_a_query_that_waits(client, name, follow, ear):
    """Stopped, its thread is gone and it hears nothing more; it may be started again."""
    follower = follow(client, f"/v1/kv/{name}")
    ear.heard()
    before = set(threading.enumerate())
    follower.stop()
    assert 1 == len(before - set(threading.enumerate()))
    client.put(f"/v1/kv/{name}", b"1")
    assert ear.answers.empty()
    follower.start()
    assert 200 == ear.heard().status


def test_it_may_be_stopped_by_its_own_callback(client, name, ear):
    """A callback that has heard enough stops its follower without waiting for itself."""

    def heard(answer):
        follower.stop()
        ear.answers.put(answer)

    follower = Follower(client, f"/v1/kv/{name}", heard=heard)
    follower.start()
    ear.heard()
    assert not follower.running


def test_a_missing_right_is_said_once(acl_agent, name, follow, ear):
    """The reason of an outage is told once, however often it is tried; then it is heard of."""
    with acl_agent.client(acl_agent.token_for(name)) as client:
        ticks = Ticks()

        class Rng(random.Random):
            def random(self):
                ticks()
                return 0.0

        follow(client, "/v1/agent/connect/ca/leaf/other", rng=Rng())
        assert "service:write on 'other'" in str(ear.failed())
        ticks.pass_by(20)
    assert ear.faults.empty()


def test_nobody_there_is_said_at_once(follow, ear, caplog):
    """An agent that was never there is a fault, not a silence."""
    client = ConsulClient(ConsulAddress.parse("consul://127.0.0.1:1", {}))
    follow(client, "/v1/agent/connect/ca/roots")
    assert "nobody listens" in str(ear.failed())
    client.close()


def test_an_agent_that_is_killed_and_has_forgotten(own_agent, follow, ear):
    """Restarted with a lower index it is asked from the beginning: changes arrive at once."""
    with own_agent.client() as client:
        for number in range(50):
            client.put(f"/v1/kv/a/{number}", b"x")
        follower = follow(client, "/v1/kv/a", params={"recurse": None})
        high = ear.next_with(lambda body: body and 50 == len(body)).index
        own_agent.kill()
        assert isinstance(ear.failed(), faults.AgentUnreachable)
        own_agent.start()
        assert 404 == ear.heard().status
        assert follower.fault is None
    with own_agent.client() as other:
        other.put("/v1/kv/a/new", b"x")
        assert other.get("/v1/kv/a/new").index < high


def test_a_change_after_a_restart_is_heard(own_agent, follow, ear):
    """The connection was lost, so nothing is waited for from the old index."""
    with own_agent.client() as client, own_agent.client() as writer:
        for number in range(50):
            writer.put(f"/v1/kv/b/{number}", b"x")
        follow(client, "/v1/kv/a")
        ear.heard()
        own_agent.restart()
        ear.next_with(lambda body: body is None)
        writer.put("/v1/kv/a", b"x")
        assert ear.next_with(lambda body: body)


def test_an_agent_that_says_goodbye(own_agent, follow, ear):
    """Interrupted, it answers all waits with what they know: that is not news."""
    with own_agent.client() as client:
        follow(client, "/v1/kv/a")
        ear.heard()
        own_agent.interrupt()
        ear.failed()
        assert ear.answers.empty()


def test_a_frozen_agent_is_missed(own_agent, follow, ear, monkeypatch):
    """Who does not answer when the wait is over is given up; thawed, it is heard of again."""
    monkeypatch.setattr(http, "GRACE", 0.2)
    with own_agent.client() as client, own_agent.client() as writer:
        follow(client, "/v1/kv/a", seconds=0.1)
        ear.heard()
        own_agent.freeze()
        assert ear.failed().timed_out
        own_agent.thaw()
        writer.put("/v1/kv/a", b"x")
        assert ear.next_with(lambda body: body)


@pytest.mark.parametrize("params", [{}, {"stale": None}], ids=["default", "stale"])
def test_the_death_of_a_leader(own_cluster, follow, ear, params):
    """A follower hears of changes again once there is a new leader, whichever server it asked."""
    agent = own_cluster.client_agent
    with agent.client() as client, agent.client() as writer:
        follow(client, "/v1/health/service/web", params=params)
        assert [] == ear.heard().body
        own_cluster.leader().kill()
        write_when_there_is_a_leader(writer)
        assert ear.next_with(lambda body: body)


def write_when_there_is_a_leader(writer):
    """Write to the catalogue; without a leader Consul holds each attempt for seconds."""
    node = {"Node": "n", "Address": "127.0.0.1", "Service": {"Service": "web", "Port": 1}}
    while True:
        try:
            writer.put("/v1/catalog/register", node)
        except (faults.ServerTrouble, faults.AgentUnreachable):
            continue
        return


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_follows_by_itself(client, name, follow, ear):
    """Both sides hear of a change, over connections of their own."""
    told, tell = os.pipe()

    def heard(answer):
        if os.getpid() != parent:
            os.write(tell, f"{answer.status} ".encode())
        ear.answers.put(answer)

    parent = os.getpid()
    follow(client, f"/v1/kv/{name}", heard=heard)
    ear.heard()
    child = os.fork()
    if child == 0:
        threading.Event().wait(PATIENCE)  # its parent ends it
        os._exit(1)
    try:
        assert b"404 " == os.read(told, 4)
        client.put(f"/v1/kv/{name}", b"1")
        assert 200 == ear.heard().status
        assert b"200 " == os.read(told, 4)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children_do_not_draw_the_same_pauses(client, name):
    """Workers forked from one process do not reconnect in step: each has chance of its own."""
    follower = Follower(client, f"/v1/kv/{name}", heard=print)
    told, tell = os.pipe()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.write(tell, f"{follower._rng.random():.15f}"[:16].encode())
            os._exit(0)
        os.waitpid(child, 0)
    assert os.read(told, 16) != os.read(told, 16)
    os.close(told)
    os.close(tell)


def test_a_forked_childs_follower_can_be_stopped(dev_agent, name):
    """It waits on a connection of its own, which can be cut: known bug "fork after init".

    Seen to fail with the hooks of a fork in the other order, by hand: the thread was there still.
    """
    with dev_agent.client() as client:
        heard = threading.Event()
        follower = Follower(client, f"/v1/kv/{name}", heard=lambda _: heard.set())
        follower.start()
        assert heard.wait(20)
        heard.clear()
        pid = os.fork()
        if pid == 0:
            try:
                there = heard.wait(20)
                (thread,) = [each for each in threading.enumerate() if name in each.name]
                follower.stop()
                os._exit(0 if there and not thread.is_alive() else 1)
            finally:
                os._exit(2)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        follower.stop()
