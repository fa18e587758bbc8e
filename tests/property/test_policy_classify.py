from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import example, given
from hypothesis import strategies as st

from meshlib.model import Call, Reply, Verdict
from meshlib.policy.classify import classify, retry_after

DATES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
WORDS = st.sampled_from(
    [
        "Tue",
        "Tue,",
        "15",
        "99",
        "Nov",
        "1994",
        "99999999999",
        "08:12:31",
        "25:61",
        "GMT",
        "-0000",
        "(",
    ]
)


@given(DATES, st.integers(0, 10**9))
def test_a_date_is_a_difference(now, seconds):
    """A date that lies so many seconds after the reply's own asks for so many seconds."""
    now = now.replace(microsecond=0)
    then = now + timedelta(seconds=seconds)
    headers = {"date": format_datetime(now, True), "retry-after": format_datetime(then, True)}
    assert seconds == retry_after(Reply(503, headers))
    headers = {"date": headers["retry-after"], "retry-after": headers["date"]}
    assert (None if seconds else 0.0) == retry_after(Reply(503, headers))


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)), st.one_of(st.text(), st.just("")))
@example("9" * 5000, "")
def test_never_fails_and_never_negative(value, date):
    """Whatever a peer writes, the answer is a time to wait or nothing."""
    seconds = retry_after(Reply(503, {"retry-after": value, "date": date or value}))
    assert seconds is None or seconds >= 0


@given(st.integers(100, 599), st.sampled_from(["GET", "POST", "PUT", "PATCH"]))
def test_retryable_only_if_safe(status, method):
    """A status makes only an idempotent call retryable, and only a 5xx blames the endpoint."""
    call = Call("b", method=method)
    verdict = classify(call, Reply(status))
    assert (status >= 500) == verdict.failed
    assert verdict is not Verdict.RETRYABLE or call.idempotent
