"""Callers that come back to the same endpoint."""

from __future__ import annotations

from random import Random

import pytest

from meshlib.balance.session import header_of, name_of
from meshlib.balance.upstream import Upstream
from meshlib.config import OutlierConfig, SessionConfig, UpstreamConfig
from meshlib.errors import ConfigError
from meshlib.model import Attempt, Bound, Call, Snapshot, Verdict
from meshlib.policy.breaker import State

COOKIE = SessionConfig(cookie="sid")


@pytest.fixture
def upstream(clock, endpoints):
    """Make an upstream of three endpoints with sessions."""

    def make(session=COOKIE):
        made = Upstream(
            "b", clock, Random(1), UpstreamConfig(session=session, outlier=OutlierConfig(jitter=0))
        )
        made.update(Bound(Snapshot("b", endpoints(1, 1, 1))))
        return made

    return make


def asking(state, config=COOKIE):
    """Make an attempt that names the endpoint of `state`."""
    name = name_of(state.key)
    headers = {"cookie": f"x=y; {config.cookie}={name}"} if config.cookie else {"x-sid": name}
    return Attempt(Call("b", headers=headers))


def trip(state):
    """Open its breaker."""
    while state.breaker.state is State.CLOSED:
        state.breaker.report(state.breaker.permit, Verdict.FAILURE)


@pytest.mark.parametrize("config", [COOKIE, SessionConfig(header="x-sid")])
def test_the_named_endpoint_is_picked(upstream, config):
    """By a cookie or by a header, every time."""
    made = upstream(config)
    for state in made.states():
        picks = {made.picker().pick(asking(state, config)).endpoint for _ in range(20)}
        assert {state.endpoint} == picks


def test_who_names_nobody_is_balanced(upstream, attempt):
    """Without a name, or with one that leads nowhere, anybody will do."""
    made = upstream()
    stranger = Attempt(Call("b", headers={"cookie": "sid=0123"}))
    for anybody in (attempt(), stranger):
        assert 3 == len({made.picker().pick(anybody).endpoint for _ in range(50)})


def test_a_new_process_finds_the_same_endpoint(upstream):
    """Names depend on nothing but the endpoint, and do not tell its address."""
    one, other = upstream(), upstream()
    for state in one.states():
        assert state.endpoint == other.picker().pick(asking(state)).endpoint
        assert state.endpoint.host not in name_of(state.key)


def test_one_that_fails_is_left(upstream):
    """While its breaker is not closed its callers go to the others, and come back."""
    made = upstream()
    state = made.states()[0]
    trip(state)
    assert state.endpoint not in {made.picker().pick(asking(state)).endpoint for _ in range(50)}
    state.breaker.take_back(1)
    assert state.endpoint == made.picker().pick(asking(state)).endpoint


def test_a_retry_goes_elsewhere(upstream):
    """A call that has tried its endpoint is balanced."""
    made = upstream()
    state = made.states()[0]
    again = asking(state)
    again.call.tried = (state.endpoint,)
    assert state.endpoint not in {made.picker().pick(again).endpoint for _ in range(50)}


def test_strict_goes_nowhere_else(upstream, clock, attempt):
    """It tries its endpoint whatever the breaker says, as a probe if one is due, or nobody."""
    made = upstream(SessionConfig(cookie="sid", strict=True))
    state = made.states()[0]
    trip(state)
    ask = asking(state)
    assert state.endpoint == made.picker().pick(ask).endpoint
    clock.advance(1.0)
    made.picker().pick(ask).done(Verdict.SUCCESS)
    assert State.CLOSED is state.breaker.state
    made.update(Bound(Snapshot("b", tuple(s.endpoint for s in made.states()[1:]))))
    assert made.picker().pick(ask) is None
    assert made.picker().pick(attempt()) is not None


def test_probes_are_noted_through_sessions(upstream, attempt, clock):
    """A probe that was given back is due at once, with sessions as without."""
    made = upstream()
    state = made.states()[0]
    trip(state)
    clock.advance(1.0)
    for _ in range(3):
        probe = made.picker().pick(attempt())
        assert state.endpoint == probe.endpoint
        probe.done(Verdict.IGNORED)


def test_what_the_reply_says(endpoints):
    """A cookie with its attributes, or the header."""
    [endpoint] = endpoints(1)
    name = name_of((endpoint.id, endpoint.host, endpoint.port)).encode()
    cookie = header_of(endpoint, SessionConfig(cookie="sid", ttl=60.0, path="/shop"))
    assert (b"set-cookie", b'sid="%s"; Max-Age=60; Path=/shop; HttpOnly' % name) == cookie
    assert (b"X-Sid", name) == header_of(endpoint, SessionConfig(header="X-Sid"))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, ""),
        ({"cookie": "a", "header": "b"}, ""),
        ({"cookie": "a b"}, "cookie"),
        ({"header": "a:b"}, "header"),
        ({"cookie": "a", "ttl": -1.0}, "ttl"),
        ({"cookie": "a", "path": "shop"}, "path"),
    ],
)
def test_bad_settings(fields, path):
    """They are refused by name."""
    with pytest.raises(ConfigError) as refused:
        SessionConfig(**fields)
    assert path == refused.value.path
