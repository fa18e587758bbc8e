from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from meshlib.balance.upstream import Upstream
from meshlib.errors import ConnectFailed, NoEndpoint
from meshlib.model import Bound, Call, Snapshot, Target
from meshlib.policy.breaker import State
from meshlib.testing.script import Script, endpoints, refused

BACKUP, LAST = Target("backup"), Target("last")


@pytest.fixture
def upstreams(world):
    """Three services; `shop` fails over to `backup`, then to `last`."""
    rng = world.runtime.rng
    found = {name: Upstream(name, world.clock, rng) for name in ("backup", "last")}
    for port, (name, upstream) in enumerate(found.items(), 7):
        upstream.update(Bound(Snapshot(name, endpoints(port))))
    world.destination = replace(
        world.destination,
        upstream=lambda service: found.get(service) or world.upstream,
        failover=lambda target: (BACKUP, LAST) if target.service == "shop" else (),
    )
    return found


def test_nobody_there_goes_to_the_first_that_has_somebody(world, upstreams):
    """The engine is told whose identity to expect."""
    world.bind()
    upstreams["backup"].update(Bound(Snapshot("backup", ())))
    script = Script(200)
    world.call(script)
    (attempt,) = script.attempts
    assert (LAST, 8) == (attempt.target, attempt.endpoint.port)


def test_who_is_there_is_preferred(world, upstreams):
    """A list is for when there is nobody."""
    script = Script(200)
    world.call(script)
    assert None is script.attempts[0].target


def test_nobody_anywhere_names_the_first_choice(world, upstreams):
    """The error is about the service that was called."""
    world.bind()
    for name, upstream in upstreams.items():
        upstream.update(Bound(Snapshot(name, ())))
    with pytest.raises(NoEndpoint, match="shop has no endpoint"):
        world.call(Script())


def test_nobody_who_works_goes_on_too_and_comes_back(world, upstreams):
    """When every breaker is open the list is used, but for the probe that finds out."""
    world.bind(*endpoints(1))
    shop_is_down = True

    def play(attempt):
        return refused() if attempt.endpoint.port == 1 and shop_is_down else 200

    script = Script(play, for_ever=True)
    stack = world.stack(script)
    for _ in range(5):
        with suppress(ConnectFailed):
            world.drive(stack(Call("shop")))
    assert 200 == world.drive(stack(Call("shop"))).status
    (state,) = world.upstream.states()
    assert State.OPEN is state.breaker.state
    assert 7 == script.attempts[-1].endpoint.port
    assert 0 == world.pending
    shop_is_down = False
    world.clock.advance(300)
    for _ in range(3):
        world.drive(stack(Call("shop")))
    assert 1 == script.attempts[-1].endpoint.port


def test_a_service_nobody_has_answered_for_is_waited_for(world, upstreams):
    """Once; then the list is tried."""
    world.forget()
    upstreams["last"].update(Bound(Snapshot("last", endpoints(9))))
    assert 200 == world.call(Script(200), timeout=0.0).status
