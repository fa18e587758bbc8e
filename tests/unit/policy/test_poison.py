"""Which requests are themselves to blame."""

from __future__ import annotations

import pytest

from meshlib.model import Call
from meshlib.policy.poison import COMPARED, SIZE, PoisonLog, fingerprint
from meshlib.testing.clock import FakeClock


class Held:
    """A body whose bytes are there."""

    replayable = True
    whole = True

    def __init__(self, content):
        self.content = content


@pytest.fixture
def clock():
    """Time that stands still."""
    return FakeClock()


@pytest.fixture
def log(clock):
    """One that remembers for 30 s."""
    return PoisonLog(clock, 30.0)


@pytest.fixture
def pardons():
    """Who was pardoned, in order."""
    return []


@pytest.fixture
def fail(log, pardons):
    """Let a request fail at a host; whether the request is to blame."""

    def fail(host, request="r", way="500"):
        return log.failed(request, way, host, lambda: pardons.append(host))

    return fail


def test_one_failure_is_the_hosts(fail, pardons):
    """However often it fails there."""
    assert not any(fail("a") for _ in range(10))
    assert [] == pardons


def test_the_second_host_acquits_the_first(fail, pardons):
    """The request is to blame for the second failure, and the blame for the first is undone."""
    assert not fail("a")
    assert fail("b")
    assert ["a"] == pardons
    assert fail("a")
    assert fail("c")
    assert ["a"] == pardons


def test_a_success_acquits_the_request(log, fail, pardons):
    """A request that succeeds anywhere blames hosts again, and for as long as it is remembered."""
    fail("a")
    fail("b")
    log.succeeded("r")
    assert not fail("a")
    assert not fail("b")
    assert ["a"] == pardons


def test_one_that_succeeds_in_between(log, fail, pardons):
    """Two hosts that fail what a third can do are to blame."""
    assert not fail("a")
    log.succeeded("r")
    assert not fail("b")
    assert [] == pardons


@pytest.mark.parametrize("seconds", [30.0, 100.0])
def test_it_ends(fail, clock, seconds):
    """After its time a request is judged anew, also if it has failed all the while."""
    fail("a")
    fail("b")
    clock.advance(seconds - 0.1 if seconds == 30.0 else 20.0)
    assert fail("a")
    clock.advance(seconds)
    assert not fail("a")


def test_other_requests_and_other_ways_are_not_the_same(fail):
    """Only the same request that fails in the same way says something about itself."""
    assert not fail("a")
    assert not fail("b", request="other")
    assert not fail("b", way="Interrupted")
    assert fail("a", way="Interrupted")


def test_zero_switches_it_off(log, fail, pardons):
    """With no time to remember nothing is blamed on requests."""
    log.configure(0.0)
    assert not any(fail(host) for host in "abc")
    assert [] == pardons


def test_memory_is_bounded(log, fail):
    """The request whose last failure is oldest is forgotten first."""
    for n in range(SIZE):
        fail("a", request=n)
    fail("a", request=0)
    fail("a", request="one more")
    assert SIZE == len(log)
    assert fail("b", request=0)
    assert not fail("b", request=1)


def test_empty_is_false(log, fail):
    """Whoever only has successes to tell can see that nobody wants to hear of them."""
    assert not log
    log.succeeded("r")
    assert not log
    fail("a")
    assert log


def test_fingerprints():
    """Method, path, query and a held body make a request; headers do not."""
    base = Call("s", "POST", "/p", "q=1", body=Held(b"x" * 10))
    same = Call("s", "POST", "/p", "q=1", {"x-id": "1"}, body=Held(b"x" * 10))
    assert fingerprint(base) == fingerprint(same)
    others = [
        Call("s", "PUT", "/p", "q=1", body=Held(b"x" * 10)),
        Call("s", "POST", "/r", "q=1", body=Held(b"x" * 10)),
        Call("s", "POST", "/p", "q=2", body=Held(b"x" * 10)),
        Call("s", "POST", "/p", "q=1", body=Held(b"y" * 10)),
        Call("s", "POST", "/p", "q=1", body=Held(b"x" * 11)),
        Call("s", "POST", "/p", "q=1"),
    ]
    assert len(others) + 1 == len({fingerprint(call) for call in (base, *others)})


def test_huge_bodies_are_compared_in_part():
    """The length counts, and the first bytes."""
    long = b"x" * COMPARED
    assert fingerprint(Call("s", body=Held(long + b"a"))) == fingerprint(
        Call("s", body=Held(long + b"b"))
    )
    assert fingerprint(Call("s", body=Held(long))) != fingerprint(Call("s", body=Held(long + b"b")))


def test_failures_before_a_success_are_forgotten(log, fail, clock, pardons):
    """When the success is too long ago to count, so is what was before it."""
    assert not fail("a")
    log.succeeded("r")
    clock.advance(29.0)
    assert not fail("a")
    clock.advance(2.0)
    assert not fail("b")
    assert [] == pardons
