from __future__ import annotations

from math import inf

import pytest
from multidict import CIMultiDict

from meshlib.config import RetryConfig
from meshlib.config.routes import AnswerConfig, RedirectConfig
from meshlib.context import RequestContext
from meshlib.errors import DeadlineExceeded
from meshlib.model import Call, Reply, Target
from meshlib.route.answer import Direct, Redirect
from meshlib.route.headers import HeaderChanges
from meshlib.route.rewrite import PrefixRewrite
from meshlib.route.rules import Rules
from meshlib.route.split import Leg, Split, whole
from meshlib.route.table import single
from meshlib.testing.script import Script, refused

SHOP = Target("shop")


def rule(world, *, split=None, **rules):
    """Have every call taken by a route with these rules."""
    world.destination.table.set(single(split or whole(SHOP), Rules(**rules)))


def test_a_route_without_rules_changes_nothing(world):
    """The engine sends the user's own path and headers."""
    script = Script(200)
    world.call(script, path="/a")
    call = script.attempts[0].call
    assert (None, None, None, "default") == (
        call.rules,
        call.sent_path,
        call.sent_headers,
        call.route,
    )


def test_every_attempt_sends_the_rewritten_request_and_the_users_stays_as_it_is(world):
    """What is added is added once, however many attempts there are."""
    rule(
        world,
        rewrite=PrefixRewrite(4, "/v2/"),
        host="other.example",
        request=HeaderChanges(add=(("x-a", "1"),), remove=("x-gone",)),
    )
    headers = CIMultiDict([("Host", "shop"), ("x-gone", "1")])
    script = Script(refused(), 200)
    world.call(script, path="/v1/x", headers=headers)
    for attempt in script.attempts:
        call = attempt.call
        assert ("/v1/x", "/v2/x") == (call.path, call.sent_path)
        assert ["other.example"] == call.sent_headers.getall("host")
        assert ["1"] == call.sent_headers.getall("x-a")
        assert "x-gone" not in call.sent_headers
    assert [("Host", "shop"), ("x-gone", "1")] == list(headers.items())


def test_the_legs_changes_and_the_routes(world):
    """Both apply, to what goes and to what comes."""
    leg = Leg(
        SHOP,
        100,
        HeaderChanges(set=(("x-leg", "1"),)),
        HeaderChanges(set=(("x-back", "leg"),)),
    )
    rule(world, split=Split((leg,)), response=HeaderChanges(remove=("server",)))
    raw = ((b"Server", b"x"), (b"a", b"b"))
    script = Script(Reply(200, CIMultiDict([("Server", "x"), ("a", "b")]), raw))
    reply = world.call(script)
    assert "1" == script.attempts[0].call.sent_headers["x-leg"]
    assert [("a", "b"), ("x-back", "leg")] == list(reply.headers.items())
    assert [(b"a", b"b"), (b"x-back", b"leg")] == list(reply.raw_headers)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Direct(AnswerConfig(status=403, body="no")), 403),
        (Redirect(RedirectConfig(status=308, host="new")), 308),
    ],
)
def test_an_answer_of_the_routes_own_is_not_sent(world, answer, status):
    """The engine is not asked."""
    rule(world, answer=answer)
    assert status == world.call(Script()).status


def test_the_routes_time_replaces_the_policys(world):
    """It can be shorter, and longer too."""
    for seconds in (2.0, 60.0):
        rule(world, timeout=seconds)
        script = Script(200)
        world.call(script)
        assert world.clock.now + seconds == script.attempts[0].call.deadline


def test_the_user_is_stronger_and_so_is_our_own_caller(world):
    """What was said of this one call holds; nobody works for a caller that has gone."""
    rule(world, timeout=60.0)
    script = Script(200, 200)
    world.call(script, timeout=inf)
    assert inf == script.attempts[0].call.deadline
    context = RequestContext(world.clock, deadline=world.clock.now + 3)
    token = context.enter()
    try:
        world.call(script)
    finally:
        context.leave(token)
    assert world.clock.now + 3 == script.attempts[1].call.deadline


def test_a_route_that_is_cut_ends_the_call(world):
    """The error is that of any deadline."""
    rule(world, timeout=0.5)

    def slow(attempt):
        world.clock.advance(1)
        return refused()

    with pytest.raises(DeadlineExceeded):
        world.call(Script(slow))


def test_the_routes_retries_replace_the_policys(world):
    """One route may try once, another may repeat what the policy would not."""
    rule(world, retry=RetryConfig(attempts=1))
    script = Script(503)
    assert 503 == world.call(script).status
    rule(world, retry=RetryConfig(attempts=2, statuses=(409,)))
    script = Script(409, 200)
    assert 200 == world.call(script).status


def test_a_table_that_changes_changes_the_next_call(world):
    """Hot reload: no stack is made anew."""
    stack = world.stack(Script(200, 200))
    assert 200 == world.drive(stack(Call("shop"))).status
    rule(world, answer=Direct(AnswerConfig(status=410)))
    assert 410 == world.drive(stack(Call("shop"))).status
