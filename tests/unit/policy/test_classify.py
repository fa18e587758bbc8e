from __future__ import annotations

import asyncio

import pytest

from meshlib.errors import (
    AttemptFailed,
    ConnectFailed,
    DeadlineExceeded,
    Denied,
    Interrupted,
    PeerNotTrusted,
)
from meshlib.model import Call, Reply, Verdict
from meshlib.policy.classify import classify, retry_after

GET, POST = Call("b"), Call("b", method="POST")
KEYED = Call("b", method="POST", headers={"idempotency-key": "1"})
NOW = "Tue, 15 Nov 1994 08:12:31 GMT"


@pytest.mark.parametrize("status", [200, 204, 304, 400, 404, 409, 429, 499])
def test_below_500_is_success(status):
    """A status below 500 says that the endpoint is well."""
    assert Verdict.SUCCESS is classify(GET, Reply(status))
    assert Verdict.SUCCESS is classify(POST, Reply(status))


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateway_statuses(status):
    """502, 503 and 504 may be tried again if the call is idempotent."""
    assert Verdict.RETRYABLE is classify(GET, Reply(status))
    assert Verdict.RETRYABLE is classify(KEYED, Reply(status))
    assert Verdict.FAILURE is classify(POST, Reply(status))


@pytest.mark.parametrize("status", [500, 501, 505, 507, 599])
def test_other_5xx(status):
    """Another 5xx is the application's own failure: nothing says that trying again is safe."""
    assert Verdict.FAILURE is classify(GET, Reply(status))
    assert Verdict.FAILURE is classify(POST, Reply(status))


@pytest.mark.parametrize("error", [ConnectFailed, PeerNotTrusted])
@pytest.mark.parametrize("call", [GET, POST])
def test_never_sent(call, error):
    """What was never sent may always be tried again, and is the endpoint's failure."""
    assert Verdict.RETRYABLE is classify(call, error("no"))
    assert classify(call, error("no")).failed


@pytest.mark.parametrize("error", [Interrupted, AttemptFailed])
def test_interrupted(error):
    """What broke after it was sent may be tried again if the call is idempotent."""
    assert Verdict.RETRYABLE is classify(GET, error("broken"))
    assert Verdict.RETRYABLE is classify(KEYED, error("broken"))
    assert Verdict.FAILURE is classify(POST, error("broken"))


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        DeadlineExceeded("late"),
        Denied("no"),
        ValueError("a bug"),
    ],
)
def test_says_nothing_about_the_endpoint(error):
    """A caller that went away and an error of our own blame nobody."""
    assert Verdict.IGNORED is classify(GET, error)


def test_deadline_with_an_attempt_failure():
    """A passed deadline is judged by the attempt failure that caused it."""
    late = DeadlineExceeded("late")
    late.__cause__ = Interrupted("silent")
    assert Verdict.RETRYABLE is classify(GET, late)
    assert Verdict.FAILURE is classify(POST, late)
    late.__cause__ = TimeoutError()
    assert Verdict.IGNORED is classify(GET, late)


def asked(value, **more):
    """Seconds that a reply with this Retry-After asks for."""
    return retry_after(Reply(503, {"retry-after": value, **more}))


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("120", 120.0), (" 7 ", 7.0)])
def test_retry_after_seconds(value, seconds):
    """Retry-After in seconds."""
    assert seconds == asked(value)


@pytest.mark.parametrize(
    "value",
    [
        "Tue, 15 Nov 1994 08:13:31 GMT",  # IMF-fixdate
        "Tuesday, 15-Nov-94 08:13:31 GMT",  # RFC 850
        "Tue Nov 15 08:13:31 1994",  # asctime
    ],
)
def test_retry_after_date(value):
    """Retry-After as a date in any of HTTP's forms is measured against the reply's own Date."""
    assert 60.0 == asked(value, date=NOW)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "1.5",
        "soon",
        "1e3",
        "٣",
        "+5",
        "0x10",
        "15 Nov 1994 99999999999:1:1 GMT",
        "15 Nov 99999 08:13:31 GMT",
        "Tue, 99 Nov 1994 08:13:31 GMT",
        "nan",
    ],
)
def test_retry_after_garbage(value):
    """What is neither a number of seconds nor a date asks for nothing."""
    assert asked(value, date=NOW) is None


def test_retry_after_date_past_or_unmeasurable():
    """A date that has passed, or that stands alone, asks for nothing."""
    assert asked("Tue, 15 Nov 1994 08:12:30 GMT", date=NOW) is None
    assert asked("Tue, 15 Nov 1994 08:13:31 GMT") is None
    assert asked("Tue, 15 Nov 1994 08:13:31 GMT", date="garbage") is None
    assert retry_after(Reply(503)) is None
    assert 0.0 == asked(NOW, date=NOW)
