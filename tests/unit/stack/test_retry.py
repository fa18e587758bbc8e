from __future__ import annotations

from math import inf

import pytest

from meshlib.config import BudgetConfig, RetryConfig
from meshlib.context import RequestContext
from meshlib.errors import ConnectFailed, Interrupted
from meshlib.model import Endpoint, Locality, Reply
from meshlib.observe.quiet import Quiet
from meshlib.policy.credit import Credit
from meshlib.testing.script import Script, StreamedReply, endpoints, refused, reset

NO_BUDGET = RetryConfig(budget=BudgetConfig(share=0.0, floor=0.0))


class OneShot:
    """A body that can be sent once."""

    replayable = True


def consume(attempt):
    """Use the body up, and fail."""
    attempt.call.body.replayable = False
    return 503


def test_one_good_answer_is_one_attempt(world):
    """A call that succeeds is sent once and waits for nothing."""
    script = Script(200)
    assert world.call(script).status == 200
    assert len(script.attempts) == 1
    assert world.clock.slept == []
    assert world.pending == 0


def test_each_attempt_goes_to_another_endpoint(world):
    """What was tried is not tried again while there is something else."""
    script = Script(refused(), 503, 200)
    assert world.call(script).status == 200
    assert len({endpoint.id for endpoint in script.endpoints}) == 3
    assert [1, 2, 3] == [attempt.number for attempt in script.attempts]


def test_a_discarded_reply_gives_its_connection_back(world):
    """A 503 that is retried is discarded before the next attempt."""
    first = StreamedReply(503)
    assert world.call(Script(first, 200)).status == 200
    assert first.discarded == 1
    assert world.pending == 0


def test_a_post_that_was_never_sent_is_sent_elsewhere(world):
    """A refused connection is safe to retry whatever the method."""
    assert world.call(Script(refused(), 200), method="POST").status == 200


def test_a_post_that_may_have_arrived_is_not_repeated(world):
    """An interrupted POST fails: the peer may have done it."""
    with pytest.raises(Interrupted):
        world.call(Script(reset()), method="POST")


def test_a_503_to_a_post_is_the_answer(world):
    """A POST is not repeated because of a status."""
    assert world.call(Script(503), method="POST").status == 503


def test_an_idempotency_key_makes_a_post_repeatable(world):
    """The user's consent is a header."""
    headers = {"idempotency-key": "7"}
    assert world.call(Script(503, 200), method="POST", headers=headers).status == 200


def test_attempts_are_bounded(world):
    """After three attempts the last answer stands."""
    script = Script(503, for_ever=True)
    assert world.call(script).status == 503
    assert len(script.attempts) == 3


def test_the_last_error_is_raised(world):
    """An error of the last attempt reaches the caller, with the call it belongs to."""
    with pytest.raises(ConnectFailed) as caught:
        world.call(Script(refused(), for_ever=True), path="/x")
    error = caught.value
    assert ("shop", "GET", "/x", 3) == (error.service, error.method, error.path, error.attempts)
    assert error.endpoint is not None


def test_without_budget_there_is_no_retry(world):
    """The budget has the last word."""
    world.configure(retry=NO_BUDGET)
    assert world.call(Script(503)).status == 503


def test_an_unused_withdrawal_is_not_made(world):
    """A retry that the deadline forbids costs the budget nothing."""
    before = world.destination.budget.value.balance
    world.call(Script(503), timeout=1e-9)
    assert world.destination.budget.value.balance >= before


def test_a_body_that_is_gone_is_not_retried(world):
    """Without the same bytes there is no second attempt."""
    assert world.call(Script(consume), body=OneShot()).status == 503


def test_retry_after_is_waited_for(world):
    """The peer's wish is honoured when the deadline allows it."""
    busy = Reply(503, {"retry-after": "2"})
    assert world.call(Script(busy, 200)).status == 200
    assert sum(world.clock.slept) >= 2


def test_a_retry_after_beyond_the_deadline_ends_the_call(world):
    """What cannot be waited for is not waited for: the 503 is the answer."""
    busy = Reply(503, {"retry-after": "20"})
    assert world.call(Script(busy)).status == 503
    assert world.clock.slept == []


def test_a_retry_after_of_hours_ends_the_call(world):
    """Without a deadline a peer could otherwise put the caller to sleep for as long as it likes."""
    busy = Reply(503, {"retry-after": "301"})
    assert world.call(Script(busy), timeout=inf).status == 503
    assert world.clock.slept == []


def test_an_error_of_the_users_body_is_no_failed_attempt(world):
    """What the user's own code raises passes through, unretried and unblamed."""
    with pytest.raises(ZeroDivisionError):
        world.call(Script(ZeroDivisionError()))
    assert world.pending == 0


@pytest.fixture
def served(world):
    """Calls are made while a request is being served that brought a credit of 4."""
    context = RequestContext(world.clock, credit=4)
    token = context.enter()
    yield context
    context.leave(token)


def test_attempts_share_the_requests_credit(world, served):
    """Two calls of one request that fail make no more extra attempts than it brought along."""
    script = Script(503, for_ever=True)
    for _ in range(5):
        world.call(script)
    assert 5 + 4 >= len(script.attempts)
    assert served.futile


def test_credit_is_handed_on_by_halves(world, served):
    """Each attempt takes half of what is left along; what is not reported back is gone."""
    script = Script(503, for_ever=True)
    world.call(script)
    assert ["2", "0", "0"] == [one.headers["x-mesh-retry-credit"] for one in script.attempts]
    assert 0 == served.credit.left


def test_unspent_credit_comes_back(world, served):
    """What the server did not need is there for the next attempt, and never more than it got."""
    for claimed, left in (("2", 4), ("1", 3), ("99", 3), ("-7", 2)):
        world.call(Script(Reply(200, {"x-mesh-retry-credit": claimed})))
        assert left == served.credit.left


def test_a_connection_that_did_not_come_about_costs_no_credit(world, served):
    """No server saw one more request, so nothing multiplies: the budget alone is drawn from."""
    served.credit = Credit(0)
    assert world.call(Script(refused(), refused(), 200)).status == 200
    assert not served.futile


def test_a_call_for_nobody_has_a_credit_of_its_own(world):
    """Each call that no request asked for is a tree by itself."""
    for _ in range(3):
        script = Script(503, for_ever=True)
        world.call(script)
        assert 3 == len(script.attempts)


def test_no_means_no(world, served):
    """A peer that asks not to be tried again is not, and its word is passed on."""
    script = Script(Reply(503, {"x-mesh-retry": "no"}))
    assert world.call(script).status == 503
    assert served.futile


def test_an_untouched_post_goes_elsewhere(world):
    """A peer that did nothing says so, and even a POST is safe to repeat."""
    script = Script(Reply(503, {"x-mesh-retry": "safe"}), 200)
    assert world.call(script, method="POST").status == 200


def test_why_there_was_no_further_attempt(world):
    """The call says which bound it met."""
    calls = []

    class Finished(Quiet):
        def call_finished(self, call, outcome, seconds):
            calls.append(call)

    world.listener = Finished()
    world.call(Script(503, for_ever=True))
    world.configure(retry=NO_BUDGET)
    world.call(Script(503))
    world.call(Script(503, for_ever=True), timeout=1e-9)
    world.call(Script(200))
    assert [
        "all 3 attempts are made",
        "the service's retry budget is spent",
        "there is no time left",
        "",
    ] == [call.stopped for call in calls]


def test_another_locality_is_preferred(world):
    """With `other_locality` a retry leaves the zone of the attempt that failed."""
    near, far = Locality("r", "a"), Locality("r", "b")
    members = endpoints(1, 2, 3, 4, 5)
    world.bind(
        *(Endpoint(m.id, m.host, m.port, locality=far if m.port == 1 else near) for m in members)
    )
    world.configure(retry=RetryConfig(attempts=2, other_locality=True, credit=100))
    script = Script(503, for_ever=True)
    for _ in range(30):
        world.call(script)
    pairs = zip(script.endpoints[::2], script.endpoints[1::2], strict=True)
    left = sum(first.locality != second.locality for first, second in pairs)
    assert left > 15


def test_settings_may_change_while_running(world):
    """A reload is heard by the next call."""
    script = Script(500, 500, 200)
    assert world.call(script).status == 500
    world.configure(retry=RetryConfig(on=("5xx",)))
    assert world.call(script).status == 200
