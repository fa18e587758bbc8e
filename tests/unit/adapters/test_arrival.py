"""The first certificate, fetched beside the calls that need it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from meshlib.adapters.arrival import Arrival
from meshlib.context import RequestContext, _current
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.model import Call, Reply
from meshlib.runtime import AsyncRuntime, SyncRuntime, real_clock, run_sync


@dataclass
class Issuer:
    """Gives a certificate when the test lets it, or fails."""

    free: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    asked: int = 0
    given: bool = False

    def fetch(self):
        self.asked += 1
        self.free.wait()
        if self.error is not None:
            raise self.error
        self.given = True


@pytest.fixture
def issuer():
    """Lets go of its threads in the end."""
    made = Issuer()
    yield made
    made.free.set()


@pytest.fixture
def arrival(issuer):
    """Of what the issuer gives."""
    return Arrival(issuer.fetch, lambda: issuer.given)


async def answer(call):
    """The stack."""
    return Reply(200)


def test_nobody_asks_for_what_is_there(issuer, arrival):
    """The stack itself is used from then on."""
    issuer.given = True
    assert answer is arrival.then(lambda: answer, SyncRuntime)
    assert 0 == issuer.asked


def test_a_call_goes_on_when_it_has_come(issuer, arrival):
    """And a service that was made before does not ask again."""
    service = arrival.then(lambda: answer, SyncRuntime)
    issuer.free.set()
    assert 200 == run_sync(service(Call("shop"))).status
    assert 200 == run_sync(service(Call("shop"))).status
    assert 1 == issuer.asked


@pytest.mark.parametrize("limit", ["timeout", "connect_timeout"])
def test_a_call_waits_no_longer_than_it_may_take(issuer, arrival, limit):
    """As a whole, or for its connection; and says what it has waited for."""
    service = arrival.then(lambda: answer, SyncRuntime)
    with pytest.raises(IdentityUnavailable, match=r"may take 0\.001 s"):
        run_sync(service(Call("shop", **{limit: 0.001})))


def test_a_call_waits_no_longer_than_the_request_it_is_made_for(issuer, arrival):
    """Whose caller has gone by then."""
    service = arrival.then(lambda: answer, SyncRuntime)
    context = RequestContext(real_clock, deadline=real_clock() + 0.001)
    token = _current.set(context)
    try:
        with pytest.raises(IdentityUnavailable, match="may take"):
            run_sync(service(Call("shop")))
    finally:
        _current.reset(token)


def test_calls_share_one_attempt_and_the_loop_goes_on(issuer, arrival):
    """A thousand calls of a loop that runs on ask once."""

    async def main():
        service = arrival.then(lambda: answer, AsyncRuntime)
        calls = [asyncio.ensure_future(service(Call("shop"))) for _ in range(1000)]
        await asyncio.sleep(0)
        issuer.free.set()  # by the loop, which is not blocked
        return await asyncio.gather(*calls)

    assert {200} == {each.status for each in asyncio.run(main())}
    assert 1 == issuer.asked


def test_what_is_wrong_is_told_and_tried_anew(issuer, arrival):
    """In a class that faces know; the next call asks again."""

    class Special(IdentityUnavailable):
        pass

    issuer.error, service = Special("no", why="the agent is down"), None
    issuer.free.set()
    service = arrival.then(lambda: answer, SyncRuntime)
    with pytest.raises(IdentityUnavailable, match="agent is down") as caught:
        run_sync(service(Call("shop")))
    assert IdentityUnavailable is type(caught.value)
    issuer.error = ConfigError("control", "x", "something else")
    with pytest.raises(ConfigError):
        run_sync(service(Call("shop")))
    issuer.error = None
    assert 200 == run_sync(service(Call("shop"))).status
    assert 3 == issuer.asked
